"""The schema of ``matrix.json``."""

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from robustbench_aigi.attacks import Suite
from robustbench_aigi.detectors import Card

TOGETHER = {
    "accuracy": ("n", "low", "high"),
    "success_rate": ("n_correct_before", "success_low", "success_high"),
    "worst_generator_accuracy": ("worst_generator", "worst_generator_low", "worst_generator_high"),
}
"""What a row that has a number has besides."""


class MatrixRow(BaseModel):
    """A row of the matrix; a number that a row has not is null. Shares are in [0, 1], with 95% intervals."""

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
    success_rate: float | None = Field(description="share fooled of those that were right on the clean image")
    success_low: float | None
    success_high: float | None
    auc: float | None = Field(description="with a bootstrap interval")
    auc_low: float | None
    auc_high: float | None
    ap: float | None
    tpr_at_fpr_1: float | None
    tpr_at_fpr_5: float | None
    calibration_error: float | None = Field(description="expected calibration error of sigmoid(logit), 15 bins")
    worst_generator: str | None = Field(description="in rows of evasion: whose images are recognised least")
    worst_generator_accuracy: float | None
    worst_generator_low: float | None
    worst_generator_high: float | None
    mean_forwards: float | None
    mean_backwards: float | None
    flags: str | None = Field(description="kinds of the adequacy flags, joined by commas")
    seen: bool | None = Field(description="whether the detector met an attack of this kind in training")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        for number, others in TOGETHER.items():
            lost = [name for name in others if getattr(self, name) is None]
            if getattr(self, number) is not None and lost:
                raise ValueError(f"{self.detector}, {self.attack}: {number} without {', '.join(lost)}")
        return self


class Of(BaseModel):
    """What was run; empty where the run does not say."""

    model_config = ConfigDict(extra="forbid")

    suite: str = ""
    suite_version: int = 0
    data: str = ""
    data_key: str = Field(default="", description="hash of the images; runs are comparable where it is the same")
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

    version: Literal[3] = Field(default=3, alias="schema")
    of: Of = Of()
    rows: list[MatrixRow]
