"""Splits of a whole listing, drawn where the source has none; and its labels, checked by names."""

from pathlib import Path

import pandas as pd

from robustbench_aigi.data.recipes import LabelledRecipe
from robustbench_aigi.data.sources.terms import Terms
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.hashing import digest

CLASS_WORDS = {0: "real", 1: "AI-generated"}
"""Label to what messages call the class."""


def draw_splits(rows: pd.DataFrame, recipe: LabelledRecipe) -> pd.DataFrame:
    """Assign a split to every image: the source's, or one drawn by the hash of its parent.

    Args:
        rows: a manifest; ``split`` may be None.
        recipe: it says which shares are drawn.

    Returns:
        The rows with all splits, and a column ``bare``: whether the source had none.

    Raises:
        DataError: only some images have a split, and the recipe draws no shares.
    """
    bare = rows["split"].isna()
    train = recipe.shares.get("train", 0.0)
    validation = recipe.shares.get("validation", 0.0)
    if bare.any() and not bare.all() and not train + validation:
        raise _some_without_split(rows, bare)
    rows = rows.assign(split=rows["split"].astype(object).where(~bare, "test"), bare=bare)
    if train + validation:
        rows = _move_share(rows, bare, train + validation, "validation", recipe.seed)
    if train:
        rows = _move_share(rows, bare, train, "train", recipe.seed)
    if (rows["split"] == "validation").any() or not recipe.validation_share:
        return rows
    is_train = rows["split"] == "train"
    return _move_share(rows, is_train, recipe.validation_share, "validation", recipe.seed)


def check_named_labels(rows: pd.DataFrame, terms: Terms, where: str) -> None:
    """Check the labels of a table by the class names in its images' names.

    ``FAKE/1.jpg`` should not be real.

    Args:
        rows: a manifest.
        terms: the recipe's words.
        where: the source, for the message.

    Raises:
        DataError: most names with a class disagree, as where 0 and 1 are swapped.
    """
    named = named_labels(rows, terms)
    wrong = named.notna() & (named != rows["label"])
    if wrong.sum() * 2 > named.notna().sum():
        first = rows[wrong].iloc[0]
        raise DataError(
            f"{where}: {first['id']} is labelled {CLASS_WORDS[int(first['label'])]}, and its name"
            f" says {CLASS_WORDS[int(named[wrong].iloc[0])]}; so do {wrong.sum()} of"
            f" {named.notna().sum()} names with a class in them. If the labels are the other way"
            " round, give a recipe that knows it (such as cifake), or write"
            " numbers = { 0 = 1, 1 = 0 } in one of your own."
        )


def named_labels(rows: pd.DataFrame, terms: Terms) -> "pd.Series[float]":
    """Return the label that a folder in each image's name stands for; NaN where none does.

    Args:
        rows: a manifest.
        terms: the recipe's words.
    """
    folders = rows["id"].str.rpartition("/")[0] if len(rows) else rows["id"]
    known = {folder: _label_in(folder, terms) for folder in folders.unique()}
    return folders.map(known).astype(float)


def _move_share(
    rows: pd.DataFrame, among: "pd.Series[bool]", share: float, split: str, seed: int
) -> pd.DataFrame:
    """Move a share of the parents of each label to a split, at least one, with all their images."""
    parents = rows[among].drop_duplicates("parent")
    rank = parents["parent"].map(lambda identity: digest("split", seed, identity))
    place = rank.groupby(parents["label"]).rank(method="first")
    counts = parents.groupby("label")["id"].transform("size")
    moved = parents["parent"][place <= (counts * share).clip(lower=1)]
    return rows.assign(split=rows["split"].where(~(among & rows["parent"].isin(moved)), split))


def _some_without_split(rows: pd.DataFrame, bare: "pd.Series[bool]") -> DataError:
    first = rows[bare].iloc[0]
    known = ", ".join(sorted(rows.loc[~bare, "split"].unique()))
    return DataError(
        f"{bare.sum()} of {len(rows)} images have no split, and the others are in {known}. The"
        f" first without is {first['id']} of {Path(first['path']).name}. Put them in a folder,"
        " file or column that is named after their split, or name what they are in under"
        " [splits] in a recipe of your own."
    )


def _label_in(folder: str, terms: Terms) -> int | None:
    found = {label for label in map(terms.label, folder.split("/")) if label is not None}
    return next(iter(found)) if len(found) == 1 else None
