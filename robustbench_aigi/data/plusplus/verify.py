"""Whether a built ``++`` set is what its manifest says: every file is read and measured again."""

import os
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

import pyarrow.compute as pc

from robustbench_aigi.data.decoding import ImageError
from robustbench_aigi.data.plusplus.budgets import budgets
from robustbench_aigi.data.plusplus.checker import Checker
from robustbench_aigi.data.plusplus.jsonl import METADATA_FILE, json_line
from robustbench_aigi.data.plusplus.reader import PLACE_COLUMNS, SUITE_FILE, BuiltDataset
from robustbench_aigi.data.reading import ARCHIVE_COLUMN
from robustbench_aigi.errors import DataError, UserError
from robustbench_aigi.progress import Progress, silent

BUILD_FILES = frozenset(
    {
        "manifest.parquet",
        "manifest.jsonl",
        SUITE_FILE,
        "README.md",
        "skipped.csv",
        "data.parquet",
        "plan.csv",
    }
)
"""Files that a build may leave at the top of the folder."""
BUILD_FOLDERS = frozenset({"parts", "pictures", "audit"})
PROGRESS_STEP = 100
"""Images between two reports of progress."""


class Offender(NamedTuple):
    """A file, or an entry of the manifest, and what is wrong with it."""

    path: str
    reason: str


def verify(built: Path, progress: Progress = silent) -> list[Offender]:
    """Return everything in a built set that is not as its manifest says.

    Read again are: every file's bytes (SHA-256), pixels and format; the change of each perturbed
    image against its clean source and against the attack's budget; labels, splits, parents, ids;
    and files that the manifest does not name. Images are in memory one at a time, of the manifest
    only the ids and paths.

    Args:
        built: folder of the set.
        progress: called every :data:`PROGRESS_STEP` images.

    Raises:
        DataError: ``built`` holds no whole manifest.
    """
    the_set = BuiltDataset(built)
    total = len(the_set)
    offenders = _suite_faults(the_set)
    suite = None if offenders else the_set.suite()
    checker = Checker.of(the_set, suite)
    damaged = dict(_archive_faults(the_set))
    offenders += damaged.values()
    for done, row in enumerate(the_set.rows()):
        if done % PROGRESS_STEP == 0:
            progress("verifying", done, total)
        if row.get(ARCHIVE_COLUMN) in damaged:
            continue
        offenders += [Offender(row["path"], reason) for reason in checker.faults(row)]
    progress("verifying", total, total)
    return [*offenders, *_table_faults(the_set), *_unknown_files(the_set)]


def _archive_faults(built: BuiltDataset) -> Iterator[tuple[str, Offender]]:
    """Yield the archives of which the first or the last image cannot be read."""
    if not built.has_archives:
        return
    ends = built.table(*PLACE_COLUMNS).group_by(ARCHIVE_COLUMN, use_threads=False)
    for found in ends.aggregate([("row", "min"), ("row", "max")]).to_pylist():
        archive = found[ARCHIVE_COLUMN]
        try:
            for end in ("row_min", "row_max"):
                built.content({ARCHIVE_COLUMN: archive, "row": found[end]})
        except (ImageError, DataError) as error:
            yield archive, Offender(archive, str(error))


def _suite_faults(built: BuiltDataset) -> list[Offender]:
    try:
        budgets(built.suite())
    except UserError as error:
        return [Offender(SUITE_FILE, f"budgets are not checked: {error}")]
    return []


def _table_faults(built: BuiltDataset) -> Iterator[Offender]:
    """Yield faults of the manifest as a whole."""
    for name in ("id", "path"):
        counts = built.table(name).group_by(name).aggregate([(name, "count")])
        for row in counts.filter(pc.greater(counts.column(f"{name}_count"), 1)).to_pylist():
            reason = f"the {name} {row[name]} is there {row[f'{name}_count']} times"
            yield Offender("manifest.parquet", reason)
    splits = built.table("parent", "split").group_by("parent").aggregate([("split", "distinct")])
    torn = splits.filter(pc.greater(pc.list_value_length(splits.column("split_distinct")), 1))
    for row in torn.to_pylist():
        reason = f"the parent {row['parent']} is in {' and '.join(row['split_distinct'])}"
        yield Offender("manifest.parquet", reason)
    if _differs_from_jsonl(built):
        yield Offender("manifest.jsonl", "differs from manifest.parquet")


def _differs_from_jsonl(built: BuiltDataset) -> bool:
    path = built.folder / "manifest.jsonl"
    if not path.is_file():
        return False
    with path.open(encoding="utf-8") as file:
        lines = zip_longest(file, map(json_line, built.rows()))
        return any(written != expected for written, expected in lines)


def _unknown_files(built: BuiltDataset) -> Iterator[Offender]:
    """Yield files that the manifest does not name, except hidden and half-written ones."""
    known = set(built.table("path").column("path").to_pylist())
    if built.has_archives:
        known = set(built.table(ARCHIVE_COLUMN).column(ARCHIVE_COLUMN).unique().to_pylist())
    known |= BUILD_FILES | {f"{split}/{METADATA_FILE}" for split in built.counts()}
    for folder, folders, files in os.walk(built.folder):
        own = BUILD_FOLDERS if Path(folder) == built.folder else frozenset()
        folders[:] = [name for name in folders if name not in own and not name.startswith(".")]
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        for name in sorted(files + linked):
            path = Path(folder, name).relative_to(built.folder).as_posix()
            if path not in known and not name.startswith(".") and not name.endswith(".tmp"):
                yield Offender(path, "is not in the manifest")
