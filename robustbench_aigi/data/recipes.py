"""Recipes: what a dataset is made of, read from ``datasets/*.toml``."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from robustbench_aigi.config.units import (
    Count,
    LinfStep,
    PairCount,
    PartialShare,
    PositiveShare,
    Share,
)
from robustbench_aigi.data.sources import SPLITS, Split

Layout = Literal[
    "classes", "genimage", "forensynths", "raid", "folder", "metadata", "parquet", "webdataset"
]


class Training(BaseModel, frozen=True, extra="forbid"):
    """How the main job trains on this dataset, sized for two cores.

    ``start`` is the dataset that shipped weights to begin from were trained on; what ships none
    begins fresh, or from what was fitted plainly. ``epochs`` are by the name of what is trained;
    those of ``robust-tinyvit-5m`` stand in the place of ``adversarial_epochs``, because it may
    begin robust. ``adversarial_limit`` caps the images a split used against attacks;
    ``adversarial_eps`` is in grey levels.
    """

    start: str | None = None
    epochs: dict[str, Count] = Field(default_factory=dict)
    static_epochs: Count = 2
    adversarial_epochs: Count = 2
    adversarial_steps: Count = 3
    adversarial_eps: LinfStep = 8
    adversarial_limit: PairCount | None = None
    fare_epochs: Count = 2


class MiniParts(BaseModel, frozen=True, extra="forbid"):
    """Counts of the embedded dataset: images a class in each split, and how its fakes are made."""

    train: Count
    validation: Count
    test: Count
    steps: Count = 20
    sampled_share: Share = 0.5
    strengths: tuple[PositiveShare, PositiveShare] = (0.3, 0.6)


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """A dataset: its source, licence, classes and splits.

    ``layout`` is told by looking if None. ``labels`` are class names, in which ``*`` stands for
    anything, ``numbers`` class numbers, ``splits`` folder or file names, ``generators`` other names
    for the generators' folders. Images without a split are test images, less the ``shares`` drawn
    for train and validation; ``validation_share`` is drawn from the training images of a source
    that has no validation split. All draws are by the hash of the parent. ``convert`` takes CMYK,
    16-bit and transparent images too, by the rules of ``data.conversion``.
    """

    name: str
    version: int = Field(ge=1)
    licence: str
    homepage: str = ""
    kind: Literal["labelled", "mini"]
    source: str | None = None
    revision: str | None = None
    layout: Layout | None = None
    labels: dict[str, int] = Field(default_factory=lambda: {"REAL": 0, "FAKE": 1})
    numbers: dict[int, int] = Field(default_factory=dict)
    splits: dict[str, Split] = Field(default_factory=lambda: dict(SPLITS))
    shares: dict[Literal["train", "validation"], Share] = Field(default_factory=dict)
    generator: str = "unknown"
    generators: dict[str, str] = Field(default_factory=dict)
    categories: tuple[str, ...] = ()
    validation_share: PartialShare = 0.05
    seed: int = 0
    convert: bool = False
    parts: MiniParts | None = None
    training: Training = Training()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if sum(self.shares.values()) > 1:
            raise ValueError(
                "shares must be 0 or more, together 1 at most; what is left is the test split"
            )
        if not set(self.labels.values()) | set(self.numbers.values()) <= {0, 1}:
            raise ValueError("labels and numbers must map to 0 (real) or 1 (AI-generated)")
        return self
