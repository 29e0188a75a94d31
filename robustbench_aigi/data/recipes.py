"""Recipes: what a dataset is made of, read from ``datasets/*.toml``."""

import shlex
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, RootModel, field_validator, model_validator

from robustbench_aigi import catalogue
from robustbench_aigi.config.units import (
    Count,
    CountOrNone,
    PairCount,
    PartialShare,
    PositiveShare,
    Share,
)
from robustbench_aigi.data.sources.recognise import layout_names
from robustbench_aigi.data.sources.splits import SPLIT_NAMES, Split
from robustbench_aigi.data.sources.terms import Terms
from robustbench_aigi.errors import DataError
from robustbench_aigi.registry import unknown


def moved_training_message() -> str:
    """Return what to do about a recipe with the table ``[training]`` of earlier versions."""
    example = catalogue.folder("training_plans") / "default.toml"
    return (
        "[training] is not a table of a recipe any more: what is trained is a training plan, a"
        f" file of its own. Type `cp {shlex.quote(str(example))} my-plan.toml`, write the epochs"
        ' there, and put training_plan = "my-plan.toml" instead of [training] into the recipe.'
    )


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """What every recipe of a dataset has: see its subclasses.

    Attributes:
        name: as the file is called.
        version: raised with every change of the images.
        licence: of the images.
        homepage: of the dataset.
        seed: of all draws.
        training_plan: name or path of the plan of what is trained on it.
    """

    name: str
    version: int = Field(ge=1)
    licence: str
    homepage: str | None = None
    seed: int = 0
    training_plan: str = "default"

    @model_validator(mode="before")
    @classmethod
    def _reject_training_table(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "training" in given:
            raise ValueError(moved_training_message())
        return given


class LabelledRecipe(Recipe, frozen=True):
    """A dataset of labelled images that are on a disk or a hub.

    Attributes:
        source: path or hub id; None if the user gives it.
        revision: of the hub dataset.
        layout: see :func:`~robustbench_aigi.data.sources.recognise.layout_names`; found by looking
            if None.
        labels: class names to labels; in a name ``*`` stands for anything.
        numbers: class numbers to labels.
        splits: folder or file names to splits.
        shares: drawn from images without a split; the rest of them is the test split.
        generator: of AI-generated images that name none.
        generators: folder names of generators to their names.
        categories: by number in CIFAKE's file names.
        validation_share: drawn from the training images of a source without a validation split.
        convert: take CMYK, 16-bit and transparent images too, by the rules of
            :mod:`~robustbench_aigi.data.conversion`.
    """

    kind: Literal["labelled"]
    source: str | None = None
    revision: str | None = None
    layout: str | None = None
    labels: dict[str, int] = Field(default_factory=lambda: {"REAL": 0, "FAKE": 1})
    numbers: dict[int, int] = Field(default_factory=dict)
    splits: dict[str, Split] = Field(default_factory=lambda: dict(SPLIT_NAMES))
    shares: dict[Literal["train", "validation"], Share] = Field(default_factory=dict)
    generator: str = "unknown"
    generators: dict[str, str] = Field(default_factory=dict)
    categories: tuple[str, ...] = ()
    validation_share: PartialShare = 0.05
    convert: bool = False

    @property
    def terms(self) -> Terms:
        """The recipe's words, as sources are read by them."""
        generators = frozenset(name.lower() for name in self.generators)
        return Terms(self.labels, self.numbers, self.splits, self.layout, generators)

    def place(self, source: str | None) -> str:
        """Return where the images are.

        Args:
            source: what the user gave; the recipe's own source if None.

        Raises:
            DataError: there is neither.
        """
        where = source or self.source
        if where is None:
            raise DataError(
                f"{self.name} needs its images. Type --source with a folder, Parquet files or a"
                " hub id."
            )
        return where

    @field_validator("layout")
    @classmethod
    def _check_layout(cls, layout: str | None) -> str | None:
        if layout is not None and layout not in layout_names():
            raise ValueError(unknown("layout", layout, layout_names()))
        return layout

    @model_validator(mode="after")
    def _check_numbers(self) -> Self:
        if sum(self.shares.values()) > 1:
            raise ValueError(
                "shares must be 0 or more, together 1 at most; what is left is the test split"
            )
        if not set(self.labels.values()) | set(self.numbers.values()) <= {0, 1}:
            raise ValueError("labels and numbers must map to 0 (real) or 1 (AI-generated)")
        return self


class MiniParts(BaseModel, frozen=True, extra="forbid"):
    """How many images the embedded dataset has, and how its fakes are made.

    Attributes:
        train: images per class in the train split.
        validation: images per class in the validation split.
        test: images per class in the test split.
        steps: of the diffusion model's sampler.
        sampled_share: of the fakes; the others are reconstructions of real images.
        strengths: least and greatest share of the noise schedule for reconstructions.
    """

    train: Count
    validation: Count
    test: Count
    steps: Count = 20
    sampled_share: Share = 0.5
    strengths: tuple[PositiveShare, PositiveShare] = (0.3, 0.6)


class MiniRecipe(Recipe, frozen=True):
    """A dataset that is made here from photographs of installed packages.

    Attributes:
        parts: how many images, and how they are made.
    """

    kind: Literal["mini"]
    parts: MiniParts


class PlusPlusRecipe(BaseModel, frozen=True, extra="forbid"):
    """A perturbed set to build on a dataset.

    Attributes:
        name: as the file is called.
        version: raised with every change of the images.
        licence: of the images.
        base: recipe of the dataset.
        attacks: suite of the perturbations.
        images: limit of clean images by split; a split that is not named is taken whole.
        samples: images of the shipped diffusion model by split.
        by_turns: splits of which each image is perturbed in one way; else it is in all ways.
        surrogates: detector name to a checkpoint, or to a dataset whose shipped weights it takes.
    """

    name: str
    version: int = Field(ge=1)
    kind: Literal["plusplus"]
    licence: str
    base: str
    attacks: str
    images: dict[str, PairCount] = Field(default_factory=dict)
    samples: dict[str, CountOrNone] = Field(default_factory=dict)
    by_turns: tuple[Split, ...] = ()
    surrogates: dict[str, str] = Field(default_factory=dict)


DatasetRecipe = LabelledRecipe | MiniRecipe
AnyRecipe = LabelledRecipe | MiniRecipe | PlusPlusRecipe


class RecipeFile(RootModel[Annotated[AnyRecipe, Field(discriminator="kind")]], frozen=True):
    """A recipe of any kind; the key ``kind`` tells which."""


def read_recipe(name: str) -> AnyRecipe:
    """Read a recipe file of any kind.

    Args:
        name: of a shipped recipe, or a path that ends in ``.toml``.

    Raises:
        UnknownNameError: there is no such file.
        ConfigError: it is not TOML, or does not fit its kind.
    """
    return catalogue.read("datasets", name, RecipeFile).root
