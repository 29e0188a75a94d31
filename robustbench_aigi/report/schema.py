"""The schema of ``matrix.json``."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from robustbench_aigi.attacks import Suite
from robustbench_aigi.detectors import Card

TOGETHER = {
    "accuracy": ("n", "low", "high"),
    "success_rate": ("n_correct_before", "success_low", "success_high"),
    "majority_accuracy": ("draws", "majority_low", "majority_high"),
    "worst_generator_accuracy": ("worst_generator", "worst_generator_low", "worst_generator_high"),
}
"""What a row that has a number has besides."""
SCHEMA: Literal[4] = 4
"""Version of ``matrix.json``."""


class MatrixRow(BaseModel):
    """A row of the matrix; a number that a row has not is null. Shares are in [0, 1], with 95%
    intervals.
    """

    model_config = ConfigDict(extra="forbid")

    detector: str
    mode: Literal["clean", "static", "transfer", "white-box"] | None
    attack: str | None
    direction: Literal["evasion", "framing", "both"] | None
    status: str = Field(description="ok, or the reason why numbers are missing or incomplete")
    n: int | None
    accuracy: float | None = Field(ge=0, le=1)
    low: float | None
    high: float | None
    balanced_accuracy: float | None
    n_correct_before: int | None
    success_rate: float | None = Field(
        description="share fooled of those that were right on the clean image"
    )
    success_low: float | None
    success_high: float | None
    auc: float | None = Field(description="with a bootstrap interval")
    auc_low: float | None
    auc_high: float | None
    ap: float | None
    tpr_frozen_01: float | None = Field(
        description="fakes above the threshold of 0.1% false positives on clean reals"
    )
    tpr_frozen_1: float | None = Field(description="the same at 1%")
    tpr_frozen_5: float | None = Field(description="the same at 5%")
    fpr_frozen_01: float | None = Field(
        description="reals above the threshold of 0.1% false positives on clean reals"
    )
    fpr_frozen_1: float | None = Field(description="the same at 1%")
    fpr_frozen_5: float | None = Field(description="the same at 5%")
    frozen_reals: int | None = Field(description="clean reals that these thresholds were fixed on")
    calibration_error: float | None = Field(
        description="expected calibration error of sigmoid(logit), 15 bins"
    )
    worst_generator: str | None = Field(
        description="in rows of evasion: whose images are recognised least"
    )
    worst_generator_accuracy: float | None
    worst_generator_low: float | None
    worst_generator_high: float | None
    draws: int | None = Field(
        description="scores drawn of each final image; 1 unless the detector scores at random"
    )
    majority_accuracy: float | None = Field(
        description="of the majority of these draws; accuracy is of one draw"
    )
    majority_low: float | None
    majority_high: float | None
    kept_accuracy: float | None = Field(
        description="what the attack itself saw, the luckiest draws of its search"
    )
    mean_forwards: float | None
    mean_backwards: float | None
    replaced_by: str | None = Field(
        description="attack by verdicts that took the place of one by coarse scores"
    )
    flags: str | None = Field(description="kinds of the adequacy flags, joined by commas")
    seen: bool | None = Field(
        description="whether the detector met an attack of this kind in training"
    )

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for number, others in TOGETHER.items():
            lost = [name for name in others if getattr(self, name) is None]
            if getattr(self, number) is not None and lost:
                raise ValueError(
                    f"{self.detector}, {self.attack}: {number} without {', '.join(lost)}"
                )
        return self


class Of(BaseModel):
    """What was run; empty where the run does not say."""

    model_config = ConfigDict(extra="forbid")

    suite: str = ""
    suite_version: int = 0
    data: str = ""
    data_key: str = Field(
        default="", description="hash of the images; runs are comparable where it is the same"
    )
    images: int = 0

    @property
    def title(self) -> str:
        """In a line."""
        return f"{self.suite} version {self.suite_version} on {self.images} images of {self.data}"


class Data(BaseModel):
    """What a run was on."""

    name: str
    images: int
    key: str


class Facts(BaseModel):
    """What reports take from ``run.json``."""

    suite: Suite
    data: Data
    detectors: dict[str, Card | dict[Literal["unavailable"], str]]
    versions: dict[str, str]


class MatrixFile(BaseModel):
    """All rows of a run."""

    model_config = ConfigDict(extra="forbid", title="robustbench-aigi matrix")

    version: Literal[4] = Field(default=SCHEMA, alias="schema")
    of: Of = Of()
    rows: list[MatrixRow]
