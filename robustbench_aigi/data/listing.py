"""From what a source lists to the manifest of what can be read: splits drawn, ids unique, sizes in
order.
"""

import hashlib
import re
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from robustbench_aigi.data.dataset import COLUMNS, CONVERTED, is_converted
from robustbench_aigi.data.decoding import ImageError, decoded
from robustbench_aigi.data.drawing import check_named_labels, drawn
from robustbench_aigi.data.sources import Found, Refused, Terms, recognised
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.data.sources.entry import printable, skip_reason
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.progress import Progress

if TYPE_CHECKING:
    from robustbench_aigi.data.recipes import Recipe

Faults = list[tuple[str, str]]


def terms_of(recipe: "Recipe") -> Terms:
    """The words of a recipe."""
    generators = frozenset(name.lower() for name in recipe.generators)
    return Terms(recipe.labels, recipe.numbers, recipe.splits, recipe.layout, generators)


def place_of(recipe: "Recipe", source: str | None) -> str:
    """Where the images of a recipe are. Raises ``DataError`` if nobody says."""
    where = source or recipe.source
    if where is None:
        raise DataError(
            f"{recipe.name} needs its images. Type --source with a folder, Parquet files or a"
            " hub id."
        )
    return where


def listed(recipe: "Recipe", source: str | None) -> tuple[pd.DataFrame, Faults]:
    """Manifest rows of a source, none opened yet, with a column ``block``; and what was refused,
    with the reason.

    Raises:
        DataError, UnavailableError: see :func:`~robustbench_aigi.data.sources.recognised`.
    """
    return manifest_rows(
        recipe, recognised(place_of(recipe, source), terms_of(recipe), recipe.revision)
    )


def manifest_rows(recipe: "Recipe", found: Found) -> tuple[pd.DataFrame, Faults]:
    """As :func:`listed`, of a source that is recognised.

    Raises:
        DataError: labels or splits are not what the recipe says, or only some images have a split.
    """
    rows: list[tuple[object, ...]] = []
    faults: Faults = []
    for entry in chain(found.left, found.listed()):
        fault = (
            entry.reason
            if isinstance(entry, Refused)
            else skip_reason(entry.path.name) or _unwritable(entry.path)
        )
        if fault or isinstance(entry, Refused):
            faults.append((printable(entry.stem), fault))
            continue
        generator = entry.generator or (recipe.generator if entry.label else "camera")
        generator = recipe.generators.get(generator, generator)
        category = entry.category or _category(entry.stem, recipe.categories)
        texts = map(printable, (generator, category, entry.parent))
        rows.append(
            (
                entry.stem,
                entry.label,
                entry.split,
                *texts,
                "",
                str(entry.path),
                entry.row,
                entry.block,
            )
        )
    table = _named_once(pd.DataFrame(rows, columns=[*COLUMNS, "block"]))
    if found.layout in ("parquet", "webdataset", "metadata"):
        check_named_labels(table, terms_of(recipe), str(found.path))
    return drawn(table, recipe), faults


def read_all(
    rows: pd.DataFrame, faults: Faults, progress: Progress, *, convert: bool = False
) -> pd.DataFrame:
    """The rows that can be read, with ``sha256``, ordered by image size; the others are appended to
    ``faults``.

    Args:
        convert: read CMYK, 16-bit and transparent images too; where some are, a column says what
            was done to each.
    """
    contents = Contents()
    found: dict[int, tuple[str, int, int, str]] = {}
    for place, (identity, path, row) in enumerate(
        zip(rows["id"], rows["path"], rows["row"], strict=True)
    ):
        if place % 500 == 0:
            progress("reading images", place, len(rows))
        try:
            content = contents.read(path, row)
            image = decoded(content, convert=convert)
            _, height, width = image.pixels.shape
            found[place] = (hashlib.sha256(content).hexdigest(), height, width, image.conversion)
        except ImageError as reason:
            faults.append((identity, str(reason)))
    progress("reading images", len(rows), len(rows))
    facts = pd.DataFrame.from_dict(
        found, orient="index", columns=["sha256", "height", "width", CONVERTED]
    )
    good = rows.drop(columns="sha256").join(facts, how="inner")
    columns = [*COLUMNS, *([CONVERTED] if is_converted(good).any() else [])]
    # A Parquet file is read a row group at a time, so sizes are sorted within one; files and
    # archives have one block.
    return good.sort_values(["block", "height", "width"], kind="stable", ignore_index=True)[columns]


def write_skipped(path: Path, faults: Faults) -> None:
    """Write ``id, reason`` of every image that was left out."""
    table = pd.DataFrame(faults, columns=["id", "reason"])
    atomic_write(path, lambda temporary: table.to_csv(temporary, index=False))


def read_skipped(path: Path) -> Faults:
    """What :func:`write_skipped` wrote."""
    return [
        (str(name), str(reason))
        for name, reason in pd.read_csv(path, dtype=str, na_filter=False).to_numpy()
    ]


def _named_once(rows: pd.DataFrame) -> pd.DataFrame:
    """Tell apart ids that two files share, such as a.jpg and a.png; an image without a parent is
    its own.
    """
    again = rows.groupby("id").cumcount()
    rows["id"] = rows["id"].where(again == 0, rows["id"] + "~" + again.astype(str))
    rows["parent"] = rows["parent"].where(rows["parent"] != "", rows["id"])
    return rows


def _unwritable(path: Path) -> str:
    return (
        "the path of its folder is not UTF-8; rename it"
        if str(path) != printable(str(path))
        else ""
    )


def _category(stem: str, categories: tuple[str, ...]) -> str:
    """CIFAKE's file names carry the class: ``123 (4)`` is class 4, and no number is class 1."""
    if not categories:
        return ""
    number = re.search(r"\((\d{1,9})\)$", stem)
    place = int(number.group(1)) - 1 if number else 0
    return categories[place] if 0 <= place < len(categories) else ""
