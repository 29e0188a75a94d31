"""The bytes behind manifest rows: files, rows of Parquet files, members of tar archives."""

from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import final

import pyarrow as pa

from robustbench_aigi.data.decoding import MOST_BYTES, ImageError
from robustbench_aigi.data.sources.parquet import opened
from robustbench_aigi.data.sources.webdataset import read_member
from robustbench_aigi.errors import DataError


@final
class Contents:
    """Reads one image at a time; of a Parquet file one row group is held."""

    def __init__(self) -> None:
        self._path = ""
        self._group = -1

    def read(self, path: str, row: int) -> bytes:
        """The bytes of an image; ``path`` and ``row`` are those of a manifest.

        Raises:
            UnreadableImage: they cannot be read; the message is the reason.
        """
        try:
            if row < 0:
                return self._file(Path(path))
            return (
                read_member(Path(path), row)
                if path.lower().endswith(".tar")
                else self._cell(path, row)
            )
        except (OSError, ValueError, DataError, pa.ArrowException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ImageError(f"cannot be read: {reason}") from error

    def _file(self, path: Path) -> bytes:
        if (size := path.stat().st_size) > MOST_BYTES:
            raise ImageError(f"{size} bytes; {MOST_BYTES} are the most")
        return path.read_bytes()

    def _cell(self, path: str, row: int) -> bytes:
        if path != self._path:
            self._open, self._columns = opened(Path(path))
            sizes = (
                self._open.metadata.row_group(i).num_rows for i in range(self._open.num_row_groups)
            )
            self._path, self._group, self._starts = path, -1, [0, *accumulate(sizes)]
        group = bisect_right(self._starts, row) - 1
        if group >= len(self._starts) - 1:
            raise ValueError(f"the Parquet file has {self._starts[-1]} rows, no row {row}")
        if group != self._group:
            table = self._open.read_row_group(group, columns=[self._columns.content])
            held = table.column(self._columns.image).combine_chunks()
            self._held, self._group = held.field("bytes") if self._columns.nested else held, group
        return self._held[row - self._starts[group]].as_py() or b""
