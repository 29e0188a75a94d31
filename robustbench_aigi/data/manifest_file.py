"""A Parquet manifest on disk, of which a block of rows at a time is in memory."""

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.reading import ARCHIVE_COLUMN
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.files import describe_read_errors

BLOCK_ROWS = 2**14
"""Rows that are read together at least, where row groups are smaller."""
MAX_CACHED = 4
"""Blocks of a manifest in memory, each with the columns that were asked for."""
LOAD_AGAIN = "Load the dataset again, or build the set again."


class Block(NamedTuple):
    """Consecutive row groups, and the rows of the manifest that they hold."""

    first_group: int
    end_group: int
    start: int
    end: int


@final
class ManifestFile:
    """An open manifest; a file that replaces it meanwhile is not seen.

    It goes to other processes as its path, and is opened there once.

    Args:
        path: of the Parquet file.
        folder: of the built set whose manifest it is, which its paths are relative to; None for
            the manifest of a dataset.

    Raises:
        DataError: it is missing or damaged.
    """

    def __init__(self, path: Path, folder: str | None = None) -> None:
        self.path = path
        self.folder = folder
        with describe_read_errors(path, LOAD_AGAIN):
            self._file = pq.ParquetFile(path)
        self.blocks = list(_blocks(self._file.metadata))
        self._starts = [block.start for block in self.blocks]
        self._cached: OrderedDict[tuple[Block, tuple[str, ...]], pa.Table] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return _opened, (self.path, self.folder, len(self))

    def __len__(self) -> int:
        return int(self._file.metadata.num_rows)

    @property
    def names(self) -> list[str]:
        """Names of the columns of a dataset's manifest."""
        names = list(self._file.schema_arrow.names)
        if self.folder is None:
            return names
        return [*(name for name in names if name not in (ARCHIVE_COLUMN, "row")), "row"]

    def blocks_between(self, start: int, end: int) -> Iterator[Block]:
        """Yield the blocks that hold some of the rows from ``start`` to before ``end``."""
        number = bisect_right(self._starts, start) - 1
        while start < end and number < len(self.blocks) and self._starts[number] < end:
            yield self.blocks[number]
            number += 1

    def frame(
        self,
        block: Block | None,
        rows: slice | npt.NDArray[np.int64],
        names: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Return some rows of a block; None stands for one without rows.

        Args:
            block: of :attr:`blocks`.
            rows: positions in the block.
            names: the columns; all if None.
        """
        names = self.names if names is None else names
        table = _rows_of(self._table(block, names), rows)
        frame: pd.DataFrame = table.to_pandas()
        if self.folder is not None:
            frame = self._resolved(frame, names)
        return frame[list(names)]

    def columns(
        self, block: Block, rows: slice | npt.NDArray[np.int64], names: Sequence[str]
    ) -> list[list[Any]]:
        """Return some columns of some rows as they are stored, as :meth:`frame` takes them."""
        table = _rows_of(self._table(block, names), rows)
        return [table.column(name).to_pylist() for name in names]

    def _table(self, block: Block | None, names: Sequence[str]) -> pa.Table:
        wanted = {*names, *((ARCHIVE_COLUMN, "row") if self.folder is not None else ())}
        schema = self._file.schema_arrow
        stored = [name for name in schema.names if name in wanted]
        if block is None:
            return schema.empty_table().select(stored)
        key = (block, tuple(names))
        if key not in self._cached:
            with describe_read_errors(self.path, LOAD_AGAIN):
                groups = range(block.first_group, block.end_group)
                self._cached[key] = self._file.read_row_groups(groups, stored).combine_chunks()
        self._cached.move_to_end(key)
        while len(self._cached) > MAX_CACHED:
            self._cached.popitem(last=False)
        return self._cached[key]

    def _resolved(self, frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        """Replace paths relative to a set by those of the files that hold the images."""
        if ARCHIVE_COLUMN in frame:
            archive = frame[ARCHIVE_COLUMN].fillna("")
            frame["row"] = frame["row"].where(archive != "", -1).astype(np.int64)
            if "path" in names:
                frame["path"] = archive.where(archive != "", frame["path"])
        else:
            frame["row"] = -1
        if "path" in names:
            frame["path"] = [f"{self.folder}/{path}" for path in frame["path"]]
        return frame


def _rows_of(table: pa.Table, rows: slice | npt.NDArray[np.int64]) -> pa.Table:
    if isinstance(rows, slice):
        return table.slice(rows.start, rows.stop - rows.start)
    return table.take(pa.array(rows))


def _blocks(metadata: pq.FileMetaData) -> Iterator[Block]:
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    ends = list(accumulate(sizes))
    first = 0
    start = 0
    for number, end in enumerate(ends):
        if end - start >= BLOCK_ROWS or number == len(ends) - 1:
            yield Block(first, number + 1, start, end)
            first = number + 1
            start = end


@lru_cache(maxsize=8)
def _opened(path: Path, folder: str | None, rows: int) -> ManifestFile:
    file = ManifestFile(path, folder)
    if len(file) != rows:
        raise DataError(
            f"{path} has {len(file)} rows, and had {rows} when it was loaded. {LOAD_AGAIN}"
        )
    return file
