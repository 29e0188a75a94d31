"""A built ``++`` set on disk, read as a stream: the manifest's rows and the bytes behind each."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data.decoding import ImageError
from robustbench_aigi.data.plusplus.manifest import NEEDED_COLUMNS
from robustbench_aigi.data.reading import ARCHIVE_COLUMN
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.files import describe_read_errors
from robustbench_aigi.progress import Progress, silent

Record = dict[str, Any]
"""One row of a manifest, by column; a set of another version may have fewer columns."""
CLASS_FOLDERS = ("REAL", "FAKE")
"""Names of the labels 0 and 1."""
MANIFEST_FILE = "manifest.parquet"
SUITE_FILE = "suite.json"
PARTS_FOLDER = "parts"
"""Folder of the tables that a build joins to its manifest at the end."""
COMMAND_FILE = ".command"
"""File with the command that was typed, while a build is unfinished."""
RERUN_BUILD = "Repeat the `robustbench-aigi build` command that made it: finished images are kept."
PLACE_COLUMNS = (ARCHIVE_COLUMN, "row")
"""Columns of a set whose images are in archives."""
MAX_CACHED = 2**26
"""Bytes of archives in memory."""
BATCH_ROWS = 1000
"""Rows of the manifest in memory at a time."""
PROGRESS_STEP = 100
"""Images between two reports of progress."""


class Item(NamedTuple):
    """One image.

    Attributes:
        number: its place in the split, from 0.
        row: of the manifest.
        content: bytes of its file.
    """

    number: int
    row: Record
    content: bytes


@final
@dataclass(frozen=True)
class BuiltDataset:
    """The folder that ``build`` wrote.

    Images are read one at a time, the manifest some rows or a few columns at a time.

    Attributes:
        folder: of the set.

    Raises:
        DataError: from every method, if the folder holds no whole manifest.
    """

    folder: Path

    @property
    def manifest(self) -> Path:
        """The Parquet manifest."""
        return self.folder / MANIFEST_FILE

    @cached_property
    def root(self) -> Path:
        """The folder, links followed."""
        return self.folder.resolve()

    @property
    def schema(self) -> pa.Schema:
        """Columns of an image's row and their types, without those of its place."""
        schema = self._file().schema_arrow.remove_metadata()
        return pa.schema([field for field in schema if field.name not in PLACE_COLUMNS])

    def __len__(self) -> int:
        return int(self._file().metadata.num_rows)

    def table(self, *columns: str) -> pa.Table:
        """Return a few columns of the whole manifest; one that it lacks is left out."""
        file = self._file()
        with describe_read_errors(self.manifest, RERUN_BUILD):
            return file.read(columns=[name for name in columns if name in file.schema_arrow.names])

    def counts(self) -> dict[str, int]:
        """Return split to number of images, in the manifest's order."""
        found = self.table("split").column("split").value_counts().to_pylist()
        for split in (entry["values"] for entry in found):
            if not re.fullmatch(r"\w[\w.-]*", split):
                raise DataError(
                    f"{self.manifest} has a split called {split!r}. Expected a plain name such as"
                    " train."
                )
        return {entry["values"]: entry["counts"] for entry in found}

    def rows(self, split: str | None = None) -> Iterator[Record]:
        """Yield the manifest's rows in order.

        Args:
            split: of the rows; all of them if None.
        """
        batches = self._file().iter_batches(BATCH_ROWS)
        while True:
            with describe_read_errors(self.manifest, RERUN_BUILD):
                batch = next(batches, None)
                if batch is None:
                    return
                if split is not None:
                    batch = batch.filter(pc.equal(batch.column("split"), split))
                rows = batch.to_pylist()
            yield from rows

    def items(self, split: str, progress: Progress = silent) -> Iterator[Item]:
        """Yield rows and contents of a split.

        Args:
            split: its name.
            progress: called every :data:`PROGRESS_STEP` images.

        Raises:
            DataError: a file is missing, or is not the one that the manifest describes.
        """
        total = self.counts()[split]
        for number, row in enumerate(self.rows(split)):
            if number % PROGRESS_STEP == 0:
                progress(f"exporting {split}", number, total)
            content = self._checked_content(row)
            yield Item(number, without_place(row), content)
        progress(f"exporting {split}", total, total)

    def place(self, path: str) -> Path:
        """Return where a path of the manifest is.

        Args:
            path: relative to the folder.

        Raises:
            DataError: it leads out of the folder.
        """
        place = self.folder / path
        if ".." in PurePosixPath(path).parts or not place.resolve().is_relative_to(self.root):
            raise DataError(
                f"{path} leads out of {self.folder}. Do not use this set; build it again."
            )
        return place

    def suite(self) -> Suite:
        """Return the suite that the set was made with.

        Raises:
            DataError: it is missing or damaged.
        """
        try:
            return Suite.model_validate_json((self.folder / SUITE_FILE).read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{self.folder} has no readable {SUITE_FILE}, which says what its attacks were."
                f" {RERUN_BUILD}"
            ) from error

    @property
    def has_archives(self) -> bool:
        """Whether images are in archives."""
        return ARCHIVE_COLUMN in self._file().schema_arrow.names

    def content(self, row: Record) -> bytes:
        """Return the bytes of an image's file.

        Args:
            row: of the manifest.

        Raises:
            ImageError: they cannot be read.
            DataError: a path leads out of the folder.
        """
        archive = row.get(ARCHIVE_COLUMN)
        place = self.place(archive or row["path"])
        return self._contents.read(str(place), row["row"] if archive else -1)

    @cached_property
    def _contents(self) -> Contents:
        return Contents(MAX_CACHED)

    def _checked_content(self, row: Record) -> bytes:
        within_split(row)
        hint = f"See all such files with `robustbench-aigi verify {self.folder}`."
        try:
            content = self.content(row)
        except ImageError as error:
            where = f" in {row[ARCHIVE_COLUMN]}" if row.get(ARCHIVE_COLUMN) else ""
            reason = str(error).removeprefix("cannot be read: ")
            raise DataError(f"cannot read {row['path']}{where}: {reason}. {hint}") from error
        if hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise DataError(f"{row['path']} is not the file that the manifest describes. {hint}")
        return content

    def _file(self) -> pq.ParquetFile:
        try:
            file = pq.ParquetFile(self.manifest)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                describe_unfinished(self.folder)
                or f"{self.folder} holds no whole {MANIFEST_FILE}."
                " Give a folder that `robustbench-aigi build` wrote."
            ) from error
        missing = [name for name in NEEDED_COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise DataError(
                f"{self.manifest} lacks {', '.join(missing)}. Give a folder that `robustbench-aigi"
                " build` wrote."
            )
        return file


def without_place(row: Record) -> Record:
    """Return a row without the columns that say in which archive of the set its image is."""
    return {name: value for name, value in row.items() if name not in PLACE_COLUMNS}


def is_built(folder: Path) -> bool:
    """Return whether ``build`` has finished a set in a folder."""
    return (folder / MANIFEST_FILE).is_file() and (folder / SUITE_FILE).is_file()


def describe_unfinished(folder: Path) -> str | None:
    """Return how to finish the build that was started in a folder; None for any other folder."""
    parts = (folder / PARTS_FOLDER).glob("*.parquet")
    if (folder / MANIFEST_FILE).is_file() or not any(parts):
        return None
    command = folder / COMMAND_FILE
    typed = command.read_text(encoding="utf-8").strip() if command.is_file() else ""
    if typed:
        again = f"`{typed}`"
    else:
        again = f"the `robustbench-aigi build ... --out {folder}` command that began it"
    return f"{folder} is an unfinished build. Finish it with {again}; what is there is kept."


def misplaced_reason(row: Record) -> str | None:
    """Return why a row does not fit its path; None if it does.

    The path is ``split/attack/REAL/name`` or ``split/attack/FAKE/name``.
    """
    if row["label"] not in (0, 1):
        return f"its label is {row['label']}, and only 0 and 1 are labels"
    expected = (row["split"], row["attack"], CLASS_FOLDERS[row["label"]])
    got = PurePosixPath(row["path"]).parts[:-1]
    if got == expected:
        return None
    return (
        f"its split, attack and label are {', '.join(expected)}, and its folder is {'/'.join(got)}"
    )


def within_split(row: Record) -> str:
    """Return a row's path below the folder of its split.

    Raises:
        DataError: the path does not fit the row.
    """
    reason = misplaced_reason(row)
    if reason is not None:
        raise DataError(
            f"{row['path']}: {reason}. See all such files with `robustbench-aigi verify FOLDER`."
        )
    return PurePosixPath(*PurePosixPath(row["path"]).parts[1:]).as_posix()
