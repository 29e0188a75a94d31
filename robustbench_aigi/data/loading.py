"""The one call that loads a dataset."""

from pathlib import Path

import pandas as pd

from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.listing import list_source, read_images, write_skipped
from robustbench_aigi.data.mini import load_mini
from robustbench_aigi.data.recipes import DatasetRecipe, LabelledRecipe, MiniRecipe
from robustbench_aigi.data.rows import choose
from robustbench_aigi.data.sources.entry import Skipped, UnfitError
from robustbench_aigi.data.suggestions import load_recipe, recipe_hint, words_to_type
from robustbench_aigi.errors import DataError
from robustbench_aigi.progress import Progress, silent

GENERAL_RECIPE = "folder"
"""The recipe of images of one's own."""
DRAWING_RECIPE = "folder-split"
"""The recipe that draws splits of a folder that has none."""


def load_data(
    name: str | DatasetRecipe,
    source: str | None = None,
    split: str | tuple[str, ...] | None = None,
    limit: int | None = None,
    skipped: Path | None = None,
    progress: Progress = silent,
    convert: bool = False,
) -> Dataset:
    """Load a dataset by its recipe.

    Args:
        name: of a shipped recipe, a path that ends in ``.toml``, or a recipe.
        source: the path or hub id to read; the recipe's own source if None.
        split: "train", "validation" or "test", or several of them; all if None.
        limit: maximum number of images per split, classes balanced.
        skipped: CSV file to write the unreadable images to, with the reason for each.
        progress: called while images are read.
        convert: take CMYK, 16-bit and transparent images and apply colour profiles, as the recipe
            may say too.

    Raises:
        UnknownNameError: there is no such recipe.
        ConfigError: the recipe is not a dataset's, or does not fit.
        DataError: the source is missing, does not fit the recipe, or lacks a class or the split.
        UnavailableError: the hub cannot be reached.
    """
    recipe = load_recipe(name) if isinstance(name, str) else name
    label = name if isinstance(name, str) else name.name
    if isinstance(recipe, MiniRecipe):
        rows = _of_splits(load_mini(recipe, progress), label, source, split)
        if skipped is not None:
            write_skipped(skipped, [])
        return Dataset(recipe.name, rows).limit(limit)
    rows, left_out = _list_source(recipe, source)
    rows = _of_splits(rows, label, source, split)
    if limit is not None:
        rows = choose(rows, limit)
    good = read_images(rows, left_out, progress, convert=convert or recipe.convert)
    if skipped is not None:
        write_skipped(skipped, left_out)
    _check_both_classes(good, left_out)
    return Dataset(recipe.name, good)


def _list_source(recipe: LabelledRecipe, source: str | None) -> tuple[pd.DataFrame, list[Skipped]]:
    """List a source; if it does not fit the recipe, the message names one that it fits."""
    try:
        return list_source(recipe, source)
    except UnfitError as error:
        raise DataError(f"{error}{recipe_hint(error, source)}") from error


def _of_splits(
    rows: pd.DataFrame, name: str, source: str | None, split: str | tuple[str, ...] | None
) -> pd.DataFrame:
    if split is None:
        return rows
    wanted = (split,) if isinstance(split, str) else split
    for one in wanted:
        if not (rows["split"] == one).any():
            known = ", ".join(sorted(rows["split"].unique()))
            raise DataError(
                f"{name} has no {one!r} split here, only {known or 'no images'}."
                f" {_missing_split_hint(rows, name, source)}"
            )
    return rows[rows["split"].isin(wanted)].reset_index(drop=True)


def _missing_split_hint(rows: pd.DataFrame, name: str, source: str | None) -> str:
    """Return what to do for a split that is not there."""
    if "bare" not in rows or not rows["bare"].all():
        return "Put its images into a folder or file that is named after it."
    shares = "shares = { train = 0.7, validation = 0.1 }"
    advice = f"draw splits with {shares} in a recipe of your own"
    if name == GENERAL_RECIPE:
        advice = (
            f"let the recipe {DRAWING_RECIPE} draw them ({shares}, the rest is the test split), to"
            f" train and to evaluate alike: {words_to_type(DRAWING_RECIPE, source)}"
        )
    return f"Name the folders or files after their splits, or {advice}."


def _check_both_classes(rows: pd.DataFrame, skipped: list[Skipped]) -> None:
    """Raise ``DataError`` if no image can be read, or a split has one class only."""
    first = f"; the first: {skipped[0].name}: {skipped[0].reason}" if skipped else ""
    if rows.empty:
        raise DataError(f"no readable image in the source, {len(skipped)} skipped{first}.")
    for split, labels in rows.groupby("split")["label"]:
        if labels.nunique() < 2:
            raise DataError(
                f"the {split} split has images of one class only, {len(skipped)} skipped{first}."
                " Both are needed."
            )
