"""Splits and labels of a whole listing: drawn where the source has no split, and held against what
names say.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from robustbench_aigi.data.sources import Terms
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.hashing import digest

if TYPE_CHECKING:
    from robustbench_aigi.data.recipes import Recipe

CLASSES = {0: "real", 1: "AI-generated"}


def drawn(rows: pd.DataFrame, recipe: "Recipe") -> pd.DataFrame:
    """Give every image a split: the source's, or one drawn by the hash of its parent; ``bare`` is
    where it had none.

    Raises:
        DataError: some images have a split and others have none, and the recipe draws no shares.
    """
    bare = rows["split"].isna()
    train, validation = (recipe.shares.get(split, 0.0) for split in ("train", "validation"))
    if bare.any() and not bare.all() and not train + validation:
        first = rows[bare].iloc[0]
        known = ", ".join(sorted(rows.loc[~bare, "split"].unique()))
        raise DataError(
            f"{bare.sum()} of {len(rows)} images have no split, and the others are in {known}. The"
            f" first without is {first['id']} of {Path(first['path']).name}. Put them in a folder,"
            " file or column that is named after their split, or name what they are in under"
            " [splits] in a recipe of your own."
        )
    rows = rows.assign(split=rows["split"].astype(object).where(~bare, "test"), bare=bare)
    if train + validation:
        rows = _moved(rows, bare, train + validation, "validation", recipe.seed)
    if train:
        rows = _moved(rows, bare, train, "train", recipe.seed)
    if (rows["split"] == "validation").any() or not recipe.validation_share:
        return rows
    return _moved(
        rows, rows["split"] == "train", recipe.validation_share, "validation", recipe.seed
    )


def _moved(
    rows: pd.DataFrame, among: "pd.Series[bool]", share: float, split: str, seed: int
) -> pd.DataFrame:
    """Move a share of the parents of each label, at least one, with all their images among those
    given.
    """
    parents = rows[among].drop_duplicates("parent")
    rank = parents["parent"].map(lambda identity: digest("split", seed, identity))
    place = rank.groupby(parents["label"]).rank(method="first")
    counts = parents.groupby("label")["id"].transform("size")
    moved = parents["parent"][place <= (counts * share).clip(lower=1)]
    return rows.assign(split=rows["split"].where(~(among & rows["parent"].isin(moved)), split))


def check_named_labels(rows: pd.DataFrame, terms: Terms, where: str) -> None:
    """Hold the labels of a table against the class names in its images' names: ``FAKE/1.jpg``
    should not be real.

    Raises:
        DataError: most names that say a class say the other one, as where 0 and 1 are the other way
            round.
    """
    said = named_labels(rows, terms)
    wrong = said.notna() & (said != rows["label"])
    if wrong.sum() * 2 > said.notna().sum():
        first = rows[wrong].iloc[0]
        raise DataError(
            f"{where}: {first['id']} is labelled {CLASSES[int(first['label'])]}, and its name says"
            f" {CLASSES[int(said[wrong].iloc[0])]}; so do {wrong.sum()} of {said.notna().sum()}"
            " names with a class in them. If the labels are the other way round, give a recipe"
            " that knows it (such as cifake), or write numbers = { 0 = 1, 1 = 0 } in one of your"
            " own."
        )


def named_labels(rows: pd.DataFrame, terms: Terms) -> "pd.Series[float]":
    """The label that a folder in each image's name is called after; not a number where none is."""
    folders = rows["id"].str.rpartition("/")[0] if len(rows) else rows["id"]
    known = {folder: _label_in(folder, terms) for folder in folders.unique()}
    return folders.map(known).astype(float)


def _label_in(folder: str, terms: Terms) -> int | None:
    found = {label for label in map(terms.label, folder.split("/")) if label is not None}
    return next(iter(found)) if len(found) == 1 else None
