"""The audit of a dataset: measure every image once, compare the classes, look for twins, judge."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robustbench_aigi.data.audit.baseline import baselines
from robustbench_aigi.data.audit.comparison import compared, parts_of
from robustbench_aigi.data.audit.findings import Finding, findings_of
from robustbench_aigi.data.audit.statistics import SuiteRow, statistics
from robustbench_aigi.data.audit.twins import twins
from robustbench_aigi.data.audit.write import write_audit
from robustbench_aigi.data.dataset import Dataset, is_converted
from robustbench_aigi.data.decoding import ImageError
from robustbench_aigi.errors import DataError
from robustbench_aigi.progress import Progress

CHUNK = 1000
CARRIED = ("id", "label", "split", "generator", "parent", "attack")


@dataclass(frozen=True)
class Audit:
    """What was found. ``tables``: ``statistics``, ``baselines``, ``twins`` and ``unreadable``."""

    name: str
    images: int
    findings: tuple[Finding, ...]
    tables: dict[str, pd.DataFrame]

    @property
    def passed(self) -> bool:
        """Whether nothing was found that a classifier could cheat by."""
        return all(finding.level != "cheat" for finding in self.findings)


def audit(data: Dataset, out: Path, progress: Progress) -> Audit:
    """Audit a dataset, or a built ``++`` set as one dataset of all its splits.

    Writes ``audit.json``, ``audit.md``, ``images.parquet`` (a row an image), ``statistics.png``,
    ``categories.png`` and, if there are any, ``twins.png`` to ``out``. Images are read as a stream;
    a row of numbers is kept of each.

    Raises:
        DataError: a file is missing, no image is readable, or there is only one class.
    """
    table, unreadable = measured(data, progress)
    rows = data.manifest.iloc[table["place"]].reset_index(drop=True)
    progress("comparing classes", 0, 1)
    result = judged(data.name, rows, table, unreadable)
    write_audit(result, table, rows, out)
    progress("comparing classes", 1, 1)
    return result


def judged(name: str, rows: pd.DataFrame, table: pd.DataFrame, unreadable: pd.DataFrame) -> Audit:
    """Judge what was measured.

    Args:
        rows: manifest of the readable images. table, unreadable: of :func:`measured`; ``table`` row
            for row with it.
    """
    if table["label"].nunique() < 2:
        raise DataError(
            f"{name} has {len(table)} readable images of one class at most. An audit compares two"
            " classes."
        )
    parts = parts_of(table)
    tables = {
        "statistics": compared(table, parts),
        "baselines": baselines(table, parts),
        "twins": twins(rows, table[["exact", "perceptual"]]),
        "unreadable": unreadable,
    }
    return Audit(name, len(table), tuple(findings_of(rows, tables)), tables)


def measured(data: Dataset, progress: Progress) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Statistics beside what the manifest says of each readable image, in order; the others with
    the reason.
    """
    carried = data.manifest[[name for name in CARRIED if name in data.manifest]].assign(
        place=range(len(data))
    )
    chunks: list[pd.DataFrame] = []
    faults: list[tuple[str, str]] = []
    kept: list[SuiteRow] = []
    places: list[int] = []
    converted = is_converted(data.manifest).to_numpy()
    for place, content in enumerate(_contents(data)):
        try:
            kept.append(statistics(content, convert=bool(converted[place])))
            places.append(place)
        except ImageError as reason:
            faults.append((str(carried["id"].iat[place]), str(reason)))
        if len(kept) == CHUNK or place == len(data) - 1:
            progress("measuring images", place + 1, len(data))
            if kept:
                numbers = pd.DataFrame(kept).astype({"exact": "uint64", "perceptual": "uint64"})
                chunks.append(
                    pd.concat([carried.iloc[places].reset_index(drop=True), numbers], axis=1)
                )
            kept, places = [], []
    table = pd.concat(chunks, ignore_index=True) if chunks else carried.iloc[:0]
    return table, pd.DataFrame(faults, columns=["id", "reason"])


def _contents(data: Dataset) -> Iterator[bytes]:
    try:
        yield from data.contents()
    except OSError as error:
        raise DataError(
            f"cannot read {error.filename}: {error.strerror}. Build the dataset again, or give its"
            " place."
        ) from error
