"""A built `++` set on disk, read as a stream: the manifest's rows and the bytes behind each."""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from robustbench_aigi.attacks import Suite
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.files import atomic_write, describe_read_errors
from robustbench_aigi.progress import Progress, silent

ManifestRow = dict[str, Any]
CLASSES = ("REAL", "FAKE")
"""Names of the labels 0 and 1."""
SUITE = "suite.json"
NEEDED = (
    "id",
    "label",
    "split",
    "source",
    "parent",
    "attack",
    "linf",
    "l2",
    "l0",
    "sha256",
    "path",
)
BATCH = 1000


class Item(NamedTuple):
    """One image: its place in the split from 0, its manifest row, and its file's bytes."""

    number: int
    row: ManifestRow
    content: bytes


PARTS = "parts"
"""Folder of the tables that a build joins to its manifest at the end."""
COMMAND = ".command"
"""File with what was typed, which an unfinished build keeps."""
AGAIN = "Repeat the `robustbench-aigi build` command that made it: finished images are kept."


@final
@dataclass(frozen=True)
class Built:
    """The folder that ``build`` wrote. Images are read one at a time, the manifest a batch or a few
    columns at a time.

    Raises:
        DataError: from every method, if the folder holds no whole manifest.
    """

    folder: Path

    @property
    def manifest(self) -> Path:
        """The Parquet manifest."""
        return self.folder / "manifest.parquet"

    @cached_property
    def root(self) -> Path:
        """The folder, links followed."""
        return self.folder.resolve()

    @property
    def schema(self) -> pa.Schema:
        """Columns of the manifest and their types."""
        return self._file().schema_arrow.remove_metadata()

    def __len__(self) -> int:
        return int(self._file().metadata.num_rows)

    def table(self, *columns: str) -> pa.Table:
        """A few columns of the whole manifest; one that it lacks is left out."""
        file = self._file()
        with describe_read_errors(self.manifest, AGAIN):
            return file.read(columns=[name for name in columns if name in file.schema_arrow.names])

    def counts(self) -> dict[str, int]:
        """Split to number of images, in the manifest's order."""
        found = self.table("split").column("split").value_counts().to_pylist()
        for split in (entry["values"] for entry in found):
            if not re.fullmatch(r"\w[\w.-]*", split):
                raise DataError(
                    f"{self.manifest} has a split called {split!r}. Expected a plain name such as"
                    " train."
                )
        return {entry["values"]: entry["counts"] for entry in found}

    def rows(self, split: str | None = None) -> Iterator[ManifestRow]:
        """Yield the manifest's rows in order, of one split or of all."""
        batches = self._file().iter_batches(BATCH)
        while True:
            with describe_read_errors(self.manifest, AGAIN):
                batch = next(batches, None)
                if batch is None:
                    return
                kept = (
                    batch if split is None else batch.filter(pc.equal(batch.column("split"), split))
                )
                rows = kept.to_pylist()
            yield from rows

    def items(self, split: str, progress: Progress = silent) -> Iterator[Item]:
        """Yield rows and contents of a split. Raises ``DataError`` for a file that is not as the
        manifest says.
        """
        total = self.counts()[split]
        for number, row in enumerate(self.rows(split)):
            if number % 100 == 0:
                progress(f"exporting {split}", number, total)
            yield Item(number, row, self._content(row))
        progress(f"exporting {split}", total, total)

    def place(self, path: str) -> Path:
        """Where a manifest's path is. Raises ``DataError`` if that is outside the folder."""
        place = self.folder / path
        if ".." in PurePosixPath(path).parts or not place.resolve().is_relative_to(self.root):
            raise DataError(
                f"{path} leads out of {self.folder}. Do not use this set; build it again."
            )
        return place

    def suite(self) -> Suite:
        """The suite that the set was made with. Raises ``DataError`` if it is not there or not
        whole.
        """
        try:
            return Suite.model_validate_json((self.folder / SUITE).read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(
                f"{self.folder} has no readable {SUITE}, which says what its attacks were. Repeat"
                " the `robustbench-aigi build` command that made it: finished images are kept."
            ) from error

    def _content(self, row: ManifestRow) -> bytes:
        place = self.place(row["path"])
        within_split(row)
        try:
            content = place.read_bytes()
        except OSError as error:
            raise DataError(f"cannot read {row['path']}: {error.strerror}. {self._hint}") from error
        if hashlib.sha256(content).hexdigest() != row["sha256"]:
            raise DataError(
                f"{row['path']} is not the file that the manifest describes. {self._hint}"
            )
        return content

    @property
    def _hint(self) -> str:
        return f"See all such files with `robustbench-aigi verify {self.folder}`."

    def _file(self) -> pq.ParquetFile:
        try:
            file = pq.ParquetFile(self.manifest)
        except (OSError, pa.ArrowException) as error:
            raise DataError(
                unfinished(self.folder)
                or f"{self.folder} holds no whole manifest.parquet."
                " Give a folder that `robustbench-aigi build` wrote."
            ) from error
        if missing := [name for name in NEEDED if name not in file.schema_arrow.names]:
            raise DataError(
                f"{self.manifest} lacks {', '.join(missing)}. Give a folder that `robustbench-aigi"
                " build` wrote."
            )
        return file


def is_built(folder: Path) -> bool:
    """Whether ``build`` has written a set to a folder, to the end."""
    return (folder / "manifest.parquet").is_file() and (folder / SUITE).is_file()


def unfinished(folder: Path) -> str:
    """What to say of a folder in which a build was begun and did not end; empty of any other."""
    if (folder / "manifest.parquet").is_file() or not any((folder / PARTS).glob("*.parquet")):
        return ""
    command = folder / COMMAND
    typed = command.read_text(encoding="utf-8").strip() if command.is_file() else ""
    again = (
        f"`{typed}`"
        if typed
        else f"the `robustbench-aigi build ... --out {folder}` command that began it"
    )
    return f"{folder} is an unfinished build. Finish it with {again}; what is there is kept."


def misplaced(row: ManifestRow) -> str | None:
    """Why a row does not fit its path, which is ``split/attack/REAL/name`` or
    ``split/attack/FAKE/name``.
    """
    if row["label"] not in (0, 1):
        return f"its label is {row['label']}, and only 0 and 1 are labels"
    expected = (row["split"], row["attack"], CLASSES[row["label"]])
    got = PurePosixPath(row["path"]).parts
    if got[:-1] == expected:
        return None
    return (
        f"its split, attack and label are {', '.join(expected)}, and its folder is"
        f" {'/'.join(got[:-1])}"
    )


def json_line(row: ManifestRow) -> str:
    """A row as a line of JSON; numbers that JSON does not have (not a number, infinite) become
    null.
    """
    plain = {
        name: None if isinstance(v, float) and not math.isfinite(v) else v
        for name, v in row.items()
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"


def write_lines(path: Path, lines: Iterator[str]) -> None:
    """Write lines of UTF-8 text, whole, one at a time."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)

    atomic_write(path, write)


def metadata_lines(
    built: Built, split: str, name: Callable[[int, ManifestRow], str]
) -> Iterator[str]:
    """Lines of a Hugging Face ``metadata.jsonl``: ``file_name``, then all columns of the manifest.

    The fullest row comes first, the others keep their order: readers take the columns' types from
    the beginning of the file, where clean images alone would leave eps and others without one.
    """

    def line(position: int, row: ManifestRow) -> str:
        return json_line({"file_name": name(position, row), **row})

    first, row = max(enumerate(built.rows(split)), key=lambda pair: (_filled(pair[1]), -pair[0]))
    yield line(first, row)
    yield from (
        line(position, row) for position, row in enumerate(built.rows(split)) if position != first
    )


def write_jsonl(folder: Path) -> None:
    """Write ``manifest.jsonl`` beside the Parquet manifest, and a ``metadata.jsonl`` for each
    split.

    With the latter ``datasets.load_dataset("imagefolder", data_dir=...)`` reads the folder itself.

    Raises:
        DataError: the folder is no built set.
    """
    built = Built(folder)
    write_lines(folder / "manifest.jsonl", map(json_line, built.rows()))
    for split in built.counts():
        lines = metadata_lines(built, split, lambda _, row: within_split(row))
        write_lines(folder / split / "metadata.jsonl", lines)


def within_split(row: ManifestRow) -> str:
    """A row's path below the folder of its split. Raises ``DataError`` if it does not fit the
    row.
    """
    if reason := misplaced(row):
        raise DataError(
            f"{row['path']}: {reason}. See all such files with `robustbench-aigi verify FOLDER`."
        )
    return PurePosixPath(*PurePosixPath(row["path"]).parts[1:]).as_posix()


def _filled(row: ManifestRow) -> int:
    return sum(value is not None and value == value for value in row.values())
