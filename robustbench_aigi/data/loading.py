"""The one call that loads a dataset."""

from pathlib import Path

import pandas as pd

from robustbench_aigi.data.dataset import Dataset, choose
from robustbench_aigi.data.listing import Faults, listed, read_all, write_skipped
from robustbench_aigi.data.sources import UnfitError
from robustbench_aigi.data.suggestions import readers_hint, recipe_named, to_type
from robustbench_aigi.errors import DataError
from robustbench_aigi.progress import Progress, silent

DRAWING = "folder-split"
"""The recipe that draws splits of a folder that has none."""


def load_data(
    name: str,
    source: str | None = None,
    split: str | tuple[str, ...] | None = None,
    limit: int | None = None,
    skipped: Path | None = None,
    progress: Progress = silent,
    convert: bool = False,
) -> Dataset:
    """Load a dataset by its recipe's name or path.

    Args:
        source: the path or hub id to read; the recipe's own source if None.
        split: "train", "validation" or "test", or several of them; all if None.
        limit: maximum number of images per split, classes balanced.
        skipped: CSV to write the unreadable images to, with the reason for each.
        convert: take CMYK, 16-bit and transparent images and apply colour profiles, as the recipe
            may say too.

    Raises:
        UnknownNameError, DataError, UnavailableError: with what to type next.
    """
    recipe = recipe_named(name)
    if recipe.kind == "mini":
        from robustbench_aigi.data.mini import load_mini

        rows = _of_splits(load_mini(recipe, progress), name, source, split)
        if skipped is not None:
            write_skipped(skipped, [])
        return Dataset(recipe.name, rows).limit(limit)
    try:
        rows, faults = listed(recipe, source)
    except UnfitError as error:
        raise DataError(f"{error}{readers_hint(error, source)}") from error
    rows = _of_splits(rows, name, source, split)
    rows = rows if limit is None else choose(rows, limit)
    good = read_all(rows, faults, progress, convert=convert or recipe.convert)
    if skipped is not None:
        write_skipped(skipped, faults)
    return Dataset(recipe.name, _with_both_classes(good, faults))


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
                f" {_way_on(rows, name, source)}"
            )
    return rows[rows["split"].isin(wanted)].reset_index(drop=True)


def _way_on(rows: pd.DataFrame, name: str, source: str | None) -> str:
    """What to do for a split that is not there."""
    if "bare" not in rows or not rows["bare"].all():
        return "Put its images into a folder or file that is named after it."
    shares = "shares = { train = 0.7, validation = 0.1 }"
    drawn = f"draw splits with {shares} in a recipe of your own"
    if name == "folder":
        drawn = (
            f"let the recipe {DRAWING} draw them ({shares}, the rest is the test split), to train"
            " and to evaluate "
        )
        drawn += f"alike: {to_type(DRAWING, source)}"
    return f"Name the folders or files after their splits, or {drawn}."


def _with_both_classes(rows: pd.DataFrame, faults: Faults) -> pd.DataFrame:
    first = f"; the first: {faults[0][0]}: {faults[0][1]}" if faults else ""
    if rows.empty:
        raise DataError(f"no readable image in the source, {len(faults)} skipped{first}.")
    for split, labels in rows.groupby("split")["label"]:
        if labels.nunique() < 2:
            raise DataError(
                f"the {split} split has images of one class only, {len(faults)} skipped{first}."
                " Both are needed."
            )
    return rows
