"""From what a source lists to a manifest of what can be read: ids unique, sorted by image size."""

import hashlib
import re
from itertools import chain
from pathlib import Path

import pandas as pd

from robustbench_aigi.data.dataset import MANIFEST_COLUMNS, SIZE_COLUMNS
from robustbench_aigi.data.decoding import ImageError, decode_image
from robustbench_aigi.data.drawing import check_named_labels, draw_splits
from robustbench_aigi.data.reading import CONVERT_COLUMN, is_converted
from robustbench_aigi.data.recipes import LabelledRecipe
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.data.sources.entry import Entry, Skipped, printable, skip_reason
from robustbench_aigi.data.sources.recognise import RecognisedSource, recognise
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.progress import Progress

PROGRESS_STEP = 500
"""Images between two reports of progress."""


def list_source(recipe: LabelledRecipe, source: str | None) -> tuple[pd.DataFrame, list[Skipped]]:
    """Return manifest rows of a source, none opened yet, and what is skipped.

    Args:
        recipe: how the source is read.
        source: path or hub id; the recipe's own source if None.

    Raises:
        DataError, UnavailableError: see
            :func:`~robustbench_aigi.data.sources.recognise.recognise`.
    """
    found = recognise(recipe.place(source), recipe.terms, recipe.revision)
    return manifest_rows(recipe, found)


def manifest_rows(
    recipe: LabelledRecipe, found: RecognisedSource
) -> tuple[pd.DataFrame, list[Skipped]]:
    """Return manifest rows of a source that is recognised, and what is skipped.

    Args:
        recipe: how the source is read.
        found: what the source is.

    Returns:
        Rows with ``bare`` (see :func:`~robustbench_aigi.data.drawing.draw_splits`) and ``block``:
        images of one block are read in any order at the same cost.

    Raises:
        DataError: labels or splits do not fit the recipe, or only some images have a split.
    """
    rows: list[tuple[object, ...]] = []
    skipped: list[Skipped] = []
    for entry in chain(found.skipped, found.listing()):
        if isinstance(entry, Skipped):
            skipped.append(Skipped(printable(entry.name), entry.reason))
            continue
        fault = skip_reason(entry.path.name) or _path_fault(entry.path)
        if fault is not None:
            skipped.append(Skipped(printable(entry.stem), fault))
            continue
        rows.append(_row(entry, recipe))
    table = _distinct_ids(pd.DataFrame(rows, columns=[*MANIFEST_COLUMNS, "block"]))
    if found.has_label_column:
        check_named_labels(table, recipe.terms, str(found.path))
    return draw_splits(table, recipe), skipped


def read_images(
    rows: pd.DataFrame, skipped: list[Skipped], progress: Progress, *, convert: bool = False
) -> pd.DataFrame:
    """Read every image once, and return the rows of those that can be read.

    Args:
        rows: of :func:`manifest_rows`.
        skipped: the other images are appended to it.
        progress: called every :data:`PROGRESS_STEP` images.
        convert: read CMYK, 16-bit and transparent images too.

    Returns:
        Rows with ``sha256`` and sizes, sorted by image size within each block. Where images are
        converted, a column says what was done to each.
    """
    contents = Contents()
    found: dict[int, tuple[str, int, int, str]] = {}
    columns = zip(rows["id"], rows["path"], rows["row"], strict=True)
    for position, (identity, path, row) in enumerate(columns):
        if position % PROGRESS_STEP == 0:
            progress("reading images", position, len(rows))
        try:
            content = contents.read(path, row)
            image = decode_image(content, convert=convert)
        except ImageError as reason:
            skipped.append(Skipped(identity, str(reason)))
            continue
        _, height, width = image.pixels.shape
        sha256 = hashlib.sha256(content).hexdigest()
        found[position] = (sha256, height, width, image.conversion)
    progress("reading images", len(rows), len(rows))
    facts = pd.DataFrame.from_dict(
        found, orient="index", columns=["sha256", "height", "width", CONVERT_COLUMN]
    )
    good = rows.drop(columns="sha256").join(facts, how="inner")
    kept = [*MANIFEST_COLUMNS, *SIZE_COLUMNS]
    if is_converted(good).any():
        kept.append(CONVERT_COLUMN)
    # A Parquet file is read one row group at a time, so sizes are sorted within a row group.
    return good.sort_values(["block", "height", "width"], kind="stable", ignore_index=True)[kept]


def write_skipped(path: Path, skipped: list[Skipped]) -> None:
    """Write the columns ``id, reason`` of what was skipped, as CSV.

    Args:
        path: of the file.
        skipped: what was left out.
    """
    table = pd.DataFrame(skipped, columns=["id", "reason"])
    atomic_write(path, lambda temporary: table.to_csv(temporary, index=False))


def read_skipped(path: Path) -> list[Skipped]:
    """Return what :func:`write_skipped` wrote.

    Args:
        path: of the file.
    """
    table = pd.read_csv(path, dtype=str, na_filter=False)
    return [Skipped(str(name), str(reason)) for name, reason in table.to_numpy()]


def _row(entry: Entry, recipe: LabelledRecipe) -> tuple[object, ...]:
    generator = entry.generator
    if not generator:
        generator = recipe.generator if entry.label else "camera"
    generator = recipe.generators.get(generator, generator)
    category = entry.category or _cifake_category(entry.stem, recipe.categories)
    return (
        entry.stem,
        entry.label,
        entry.split,
        printable(generator),
        printable(category),
        printable(entry.parent),
        "",
        str(entry.path),
        entry.row,
        entry.block,
    )


def _distinct_ids(rows: pd.DataFrame) -> pd.DataFrame:
    """Number ids that files share, such as a.jpg and a.png; make originals their own parents."""
    again = rows.groupby("id").cumcount()
    rows["id"] = rows["id"].where(again == 0, rows["id"] + "~" + again.astype(str))
    rows["parent"] = rows["parent"].where(rows["parent"] != "", rows["id"])
    return rows


def _path_fault(path: Path) -> str | None:
    if str(path) != printable(str(path)):
        return "the path of its folder is not UTF-8; rename it"
    return None


def _cifake_category(stem: str, categories: tuple[str, ...]) -> str:
    """Return the category in CIFAKE's file names: ``123 (4)`` is class 4, no number is class 1."""
    if not categories:
        return ""
    number = re.search(r"\((\d{1,9})\)$", stem)
    index = int(number.group(1)) - 1 if number else 0
    return categories[index] if 0 <= index < len(categories) else ""
