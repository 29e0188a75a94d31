"""The audit of a dataset: measure every image once, compare the classes, find twins, judge."""

from collections.abc import Iterator, Sequence

import pandas as pd

from robustbench_aigi.data.audit.baseline import baselines
from robustbench_aigi.data.audit.comparison import compare_classes, parts_of
from robustbench_aigi.data.audit.findings import findings_of
from robustbench_aigi.data.audit.image_statistics import Statistics, image_statistics
from robustbench_aigi.data.audit.result import Audit
from robustbench_aigi.data.audit.twins import find_twins
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.decoding import ImageError
from robustbench_aigi.data.reading import is_converted
from robustbench_aigi.errors import DataError
from robustbench_aigi.progress import Progress

CHUNK_IMAGES = 1000
"""Images whose statistics are held as dictionaries before they become a table."""
CARRIED_COLUMNS = ("id", "label", "split", "generator", "parent", "attack")
"""Columns of the manifest that stand beside the statistics."""


def audit(data: Dataset, progress: Progress) -> Audit:
    """Audit a dataset, or a built ``++`` set as one dataset of all its splits.

    Images are read as a stream; of each one row of numbers is in memory.

    Args:
        data: all its splits.
        progress: called while images are measured.

    Raises:
        DataError: a file is missing, no image is readable, or there is only one class.
    """
    table, unreadable = measure(data, progress)
    rows = data.manifest.iloc[table["place"]].reset_index(drop=True)
    progress("comparing classes", 0, 1)
    result = judge(data.name, rows, table, unreadable)
    progress("comparing classes", 1, 1)
    return result


def judge(name: str, rows: pd.DataFrame, table: pd.DataFrame, unreadable: pd.DataFrame) -> Audit:
    """Judge what was measured.

    Args:
        name: of the dataset.
        rows: manifest of the readable images.
        table: of :func:`measure`, row for row with ``rows``.
        unreadable: of :func:`measure`.

    Raises:
        DataError: there is only one class.
    """
    if table["label"].nunique() < 2:
        raise DataError(
            f"{name} has {len(table)} readable images of one class at most. An audit compares two"
            " classes."
        )
    parts = parts_of(table)
    tables = {
        "statistics": compare_classes(table, parts),
        "baselines": baselines(table, parts),
        "twins": find_twins(rows, table[["exact", "perceptual"]]),
        "unreadable": unreadable,
    }
    return Audit(name, tuple(findings_of(rows, tables)), tables, table, rows)


def measure(data: Dataset, progress: Progress) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Measure every image.

    Args:
        data: all its splits.
        progress: called every :data:`CHUNK_IMAGES` readable images.

    Returns:
        One row per readable image, in order: what the manifest says, ``place`` in the manifest, and
        the statistics. And ``id, reason`` of each unreadable image.
    """
    columns = [name for name in CARRIED_COLUMNS if name in data.manifest]
    carried = data.manifest[columns].assign(place=range(len(data)))
    converted = is_converted(data.manifest).to_numpy()
    chunks: list[pd.DataFrame] = []
    faults: list[tuple[str, str]] = []
    found: list[Statistics] = []
    places: list[int] = []
    for place, content in enumerate(_contents(data)):
        try:
            found.append(image_statistics(content, convert=bool(converted[place])))
            places.append(place)
        except ImageError as reason:
            faults.append((str(carried["id"].iat[place]), str(reason)))
        if len(found) == CHUNK_IMAGES or place == len(data) - 1:
            progress("measuring images", place + 1, len(data))
            if found:
                chunks.append(_chunk(carried, places, found))
            found = []
            places = []
    table = pd.concat(chunks, ignore_index=True) if chunks else carried.iloc[:0]
    return table, pd.DataFrame(faults, columns=["id", "reason"])


def _chunk(
    carried: pd.DataFrame, places: Sequence[int], found: Sequence[Statistics]
) -> pd.DataFrame:
    numbers = pd.DataFrame(list(found)).astype({"exact": "uint64", "perceptual": "uint64"})
    return pd.concat([carried.iloc[list(places)].reset_index(drop=True), numbers], axis=1)


def _contents(data: Dataset) -> Iterator[bytes]:
    try:
        yield from data.contents()
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename}: {error.strerror}. Build the dataset again, or give its"
            " place."
        ) from error
