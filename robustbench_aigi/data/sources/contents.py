"""The bytes behind manifest rows: files, rows of Parquet files, members of tar archives."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, final

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.decoding import MAX_BYTES, ImageError
from robustbench_aigi.data.sources.parquet_file import Columns, open_parquet, row_group_starts
from robustbench_aigi.data.sources.webdataset import read_member
from robustbench_aigi.errors import DataError

T = TypeVar("T")
MAX_OPEN_FILES = 64
"""Parquet files that stay open."""
MAX_CACHED = 2**28
"""Bytes of row groups in memory; one is kept however large it is."""


@final
class Contents:
    """Reads one image at a time; of Parquet files the last row groups are in memory.

    Args:
        cached: bytes of row groups that are kept; 0 keeps the last one alone.
    """

    def __init__(self, cached: int = 0) -> None:
        self._cached = cached
        self._tables: OrderedDict[str, _OpenTable] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int], Any] = OrderedDict()

    def read(self, path: str, row: int) -> bytes:
        """Return the bytes of an image.

        Args:
            path: as in a manifest.
            row: as in a manifest.

        Raises:
            ImageError: they cannot be read; the message is the reason.
        """
        try:
            if row < 0:
                return _read_file(Path(path))
            if path.lower().endswith(".tar"):
                return read_member(Path(path), row)
            return self._read_row(path, row)
        except (OSError, ValueError, DataError, pa.ArrowException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ImageError(f"cannot be read: {reason}") from error

    def _read_row(self, path: str, row: int) -> bytes:
        table = _recent(self._tables, path, lambda: _OpenTable.of(path), MAX_OPEN_FILES)
        group = table.group_of(row)
        images = self._groups.get((path, group))
        if images is None:
            images = table.read(group)
            self._groups[path, group] = images
        self._groups.move_to_end((path, group))
        while len(self._groups) > 1 and self._bytes() > self._cached:
            self._groups.popitem(last=False)
        return images[row - table.starts[group]].as_py() or b""

    def _bytes(self) -> int:
        return sum(images.nbytes for images in self._groups.values())


@dataclass(frozen=True)
class _OpenTable:
    """An open Parquet file.

    Attributes:
        file: the open file.
        columns: where the images are.
        starts: the first row of each row group, and the number of rows.
    """

    file: pq.ParquetFile
    columns: Columns
    starts: list[int]

    @classmethod
    def of(cls, path: str) -> "_OpenTable":
        file, columns = open_parquet(Path(path))
        return cls(file, columns, row_group_starts(Path(path)))

    def group_of(self, row: int) -> int:
        group = bisect_right(self.starts, row) - 1
        if group >= len(self.starts) - 1:
            raise ValueError(f"the Parquet file has {self.starts[-1]} rows, no row {row}")
        return group

    def read(self, group: int) -> pa.Array:
        table = self.file.read_row_group(group, columns=[self.columns.content])
        images = table.column(self.columns.image).combine_chunks()
        return images.field("bytes") if self.columns.nested else images


def _recent(kept: OrderedDict[str, T], name: str, make: Callable[[], T], most: int) -> T:
    """Return what is kept under a name, made now if it is not; the oldest ones go."""
    if name not in kept:
        kept[name] = make()
    kept.move_to_end(name)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[name]


def _read_file(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ImageError(f"{size} bytes; {MAX_BYTES} are the most")
    return path.read_bytes()
