"""Recipes: what a dataset is made of, read from ``datasets/*.toml``, and the one call that loads it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, Field

from robustbench_aigi import catalogue
from robustbench_aigi.data.dataset import COLUMNS, Dataset, choose, read_contents
from robustbench_aigi.data.images import UnreadableImage, decode
from robustbench_aigi.data.sources import entries
from robustbench_aigi.errors import BadData
from robustbench_aigi.hashing import digest

Progress = Callable[[str, int, int], None]


def silent(task: str, done: int, total: int) -> None:
    """A progress callback that shows nothing."""


class Training(BaseModel, frozen=True, extra="forbid"):
    """How the main job trains on this dataset, sized for two cores.

    ``start`` is the dataset that shipped weights to begin from were trained on; what ships none begins fresh.
    ``adversarial_limit`` caps the images a split used against attacks; ``adversarial_eps`` is in grey levels.
    """

    start: str | None = None
    epochs: dict[str, int] = Field(default_factory=dict)
    static_epochs: int = 2
    adversarial_epochs: int = 2
    adversarial_steps: int = 3
    adversarial_eps: float = 8
    adversarial_limit: int | None = None
    fare_epochs: int = 2


class MiniParts(BaseModel, frozen=True, extra="forbid"):
    """Counts of the embedded dataset: images a class in each split, and how its fakes are made."""

    train: int
    validation: int
    test: int
    steps: int = 20
    sampled_share: float = 0.5
    strengths: tuple[float, float] = (0.3, 0.6)


class Recipe(BaseModel, frozen=True, extra="forbid"):
    """A dataset: its source, licence, classes and splits."""

    name: str
    version: int = Field(ge=1)
    licence: str
    homepage: str = ""
    kind: Literal["labelled", "mini"]
    source: str | None = None
    revision: str | None = None
    labels: dict[str, int] = Field(default_factory=lambda: {"REAL": 0, "FAKE": 1})
    numbers: dict[int, int] = Field(default_factory=dict)
    generator: str = "unknown"
    categories: tuple[str, ...] = ()
    validation_share: float = Field(default=0.05, ge=0, lt=1)
    seed: int = 0
    parts: MiniParts | None = None
    training: Training = Training()


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
    rows = _of_splits(_listed(recipe, source), name, split)
    rows = rows if limit is None else choose(rows, limit)
    return Dataset(recipe.name, _read_all(rows, skipped, progress))


def _of_splits(rows: pd.DataFrame, name: str, split: str | tuple[str, ...] | None) -> pd.DataFrame:
    if split is None:
        return rows
    wanted = (split,) if isinstance(split, str) else split
    for one in wanted:
        if not (rows["split"] == one).any():
            raise BadData(f"{name} has no {one!r} split. Expected train, validation or test.")
    return rows[rows["split"].isin(wanted)].reset_index(drop=True)


def _listed(recipe: Recipe, source: str | None) -> pd.DataFrame:
    where = source or recipe.source
    if where is None:
        raise BadData(f"{recipe.name} needs its images. Type --source with a folder, Parquet files or a hub id.")
    rows = []
    for entry in entries(where, recipe.labels, recipe.numbers, recipe.revision):
        generator = recipe.generator if entry.label else "camera"
        category = _category(entry.stem, recipe.categories)
        rows.append(
            (entry.stem, entry.label, entry.split, generator, category, entry.stem, "", str(entry.path), entry.row)
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table if (table["split"] == "validation").any() else _with_validation(table, recipe)


def _with_validation(rows: pd.DataFrame, recipe: Recipe) -> pd.DataFrame:
    """Move a share of the training images of each label, at least one, to validation, by the hash of the id."""
    train = rows[rows["split"] == "train"]
    rank = train["id"].map(lambda identity: digest("split", recipe.seed, identity))
    place = rank.groupby(train["label"]).rank(method="first")
    counts = train.groupby("label")["id"].transform("size")
    moved = train.index[place <= (counts * recipe.validation_share).clip(lower=1)]
    return rows.assign(split=rows["split"].where(~rows.index.isin(moved), "validation"))


def _category(stem: str, categories: tuple[str, ...]) -> str:
    """CIFAKE's file names carry the class: ``123 (4)`` is class 4, and no number is class 1."""
    if not categories:
        return ""
    number = re.search(r"\((\d+)\)$", stem)
    return categories[int(number.group(1)) - 1 if number else 0]


def _read_all(rows: pd.DataFrame, skipped: Path | None, progress: Progress) -> pd.DataFrame:
    import hashlib

    hashes: list[str] = []
    faults: list[tuple[str, str]] = []
    for position, content in enumerate(read_contents(rows)):
        if position % 500 == 0:
            progress("reading images", position, len(rows))
        try:
            decode(content)
            hashes.append(hashlib.sha256(content).hexdigest())
        except UnreadableImage as reason:
            hashes.append("")
            faults.append((str(rows["id"].iat[position]), str(reason)))
    progress("reading images", len(rows), len(rows))
    rows = rows.assign(sha256=hashes)
    good = rows[rows["sha256"] != ""].reset_index(drop=True)
    if skipped is not None:
        write_skipped(skipped, faults)
    for split, labels in good.groupby("split")["label"]:
        if labels.nunique() < 2:
            raise BadData(f"the {split} split has images of one class only, {len(faults)} unreadable. Both are needed.")
    if good.empty:
        first = f"; the first: {faults[0][0]}: {faults[0][1]}" if faults else ""
        raise BadData(f"no readable image in the source{first}.")
    return good


def write_skipped(path: Path, faults: list[tuple[str, str]]) -> None:
    """Write ``id, reason`` of every image that was left out."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(faults, columns=["id", "reason"]).to_csv(path, index=False)
