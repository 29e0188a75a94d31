"""Recipes: what a dataset is made of, read from ``datasets/*.toml``, and the one call that loads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import pandas as pd
from pydantic import BaseModel, Field, model_validator

from robustbench_aigi import catalogue
from robustbench_aigi.data.dataset import Dataset, choose
from robustbench_aigi.data.listing import Faults, listed, read_all, write_skipped
from robustbench_aigi.data.sources import SPLITS, Split
from robustbench_aigi.errors import BadData
from robustbench_aigi.units import Count, LinfStep, PairCount, PartialShare, PositiveShare, Share

Progress = Callable[[str, int, int], None]
Layout = Literal["classes", "genimage", "forensynths", "raid", "folder", "metadata", "parquet", "webdataset"]


def silent(task: str, done: int, total: int) -> None:
    """A progress callback that shows nothing."""


class Training(BaseModel, frozen=True, extra="forbid"):
    """How the main job trains on this dataset, sized for two cores.

    ``start`` is the dataset that shipped weights to begin from were trained on; what ships none begins fresh, or from
    what was fitted plainly. ``epochs`` are by the name of what is trained; those of ``robust-tinyvit-5m`` stand in the
    place of ``adversarial_epochs``, because it may begin robust.
    ``adversarial_limit`` caps the images a split used against attacks; ``adversarial_eps`` is in grey levels.
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

    ``layout`` is told by looking if None. ``labels`` are class names, in which ``*`` stands for anything, ``numbers``
    class numbers, ``splits`` folder or file names, ``generators`` other names for the generators' folders. Images
    without a split are test images, less the ``shares`` drawn for train and validation; ``validation_share`` is drawn
    from the training images of a source that has no validation split. All draws are by the hash of the parent.
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
    parts: MiniParts | None = None
    training: Training = Training()

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if sum(self.shares.values()) > 1:
            raise ValueError("shares must be 0 or more, together 1 at most; what is left is the test split")
        if not set(self.labels.values()) | set(self.numbers.values()) <= {0, 1}:
            raise ValueError("labels and numbers must map to 0 (real) or 1 (AI-generated)")
        return self


def load_data(
    name: str,
    source: str | None = None,
    split: str | tuple[str, ...] | None = None,
    limit: int | None = None,
    skipped: Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Load a dataset by its recipe's name or path.

    Args:
        source: the path or hub id to read; the recipe's own source if None.
        split: "train", "validation" or "test", or several of them; all if None.
        limit: at most this many images a split, classes balanced.
        skipped: CSV to write the unreadable images to, with the reason for each.

    Raises:
        UnknownName, BadData, Unavailable: with what to type next.
    """
    recipe = catalogue.read("datasets", name, Recipe)
    if recipe.kind == "mini":
        from robustbench_aigi.data.mini import load_mini

        rows = _of_splits(load_mini(recipe, progress), name, split)
        if skipped is not None:
            write_skipped(skipped, [])
        return Dataset(recipe.name, rows).limit(limit)
    rows, faults = listed(recipe, source)
    rows = _of_splits(rows, name, split)
    rows = rows if limit is None else choose(rows, limit)
    good = read_all(rows, faults, progress)
    if skipped is not None:
        write_skipped(skipped, faults)
    return Dataset(recipe.name, _with_both_classes(good, faults))


def _of_splits(rows: pd.DataFrame, name: str, split: str | tuple[str, ...] | None) -> pd.DataFrame:
    if split is None:
        return rows
    wanted = (split,) if isinstance(split, str) else split
    for one in wanted:
        if not (rows["split"] == one).any():
            known = ", ".join(sorted(rows["split"].unique()))
            raise BadData(
                f"{name} has no {one!r} split here, only {known or 'no images'}. Name the folders or files after their "
                "splits, or draw splits with shares = { train = 0.7, validation = 0.1 } in a recipe of your own."
            )
    return rows[rows["split"].isin(wanted)].reset_index(drop=True)


def _with_both_classes(rows: pd.DataFrame, faults: Faults) -> pd.DataFrame:
    first = f"; the first: {faults[0][0]}: {faults[0][1]}" if faults else ""
    if rows.empty:
        raise BadData(f"no readable image in the source, {len(faults)} skipped{first}.")
    for split, labels in rows.groupby("split")["label"]:
        if labels.nunique() < 2:
            raise BadData(
                f"the {split} split has images of one class only, {len(faults)} skipped{first}. Both are needed."
            )
    return rows
