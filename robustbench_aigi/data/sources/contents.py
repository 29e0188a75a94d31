"""The bytes behind manifest rows: files, rows of Parquet files, members of tar archives."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, final

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.decoding import MAX_BYTES, ImageError
from robustbench_aigi.data.sources.parquet_file import Columns, open_parquet
from robustbench_aigi.data.sources.webdataset import read_member
from robustbench_aigi.errors import DataError


@final
class Contents:
    """Reads one image at a time; of a Parquet file one row group is in memory."""

    def __init__(self) -> None:
        self._table: _OpenTable | None = None

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
            if self._table is None or self._table.path != path:
                self._table = _OpenTable.of(path)
            return self._table.read(row)
        except (OSError, ValueError, DataError, pa.ArrowException) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise ImageError(f"cannot be read: {reason}") from error


@dataclass
class _OpenTable:
    """A Parquet file and the images of one of its row groups.

    Attributes:
        path: of the file.
        file: the open file.
        columns: where the images are.
        starts: the first row of each row group, and the number of rows.
        group: the row group that is in memory; -1 if none is.
        images: its images.
    """

    path: str
    file: pq.ParquetFile
    columns: Columns
    starts: list[int]
    group: int = -1
    images: Any = None

    @classmethod
    def of(cls, path: str) -> "_OpenTable":
        file, columns = open_parquet(Path(path))
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        return cls(path, file, columns, [0, *accumulate(sizes)])

    def read(self, row: int) -> bytes:
        group = bisect_right(self.starts, row) - 1
        if group >= len(self.starts) - 1:
            raise ValueError(f"the Parquet file has {self.starts[-1]} rows, no row {row}")
        if group != self.group:
            table = self.file.read_row_group(group, columns=[self.columns.content])
            images = table.column(self.columns.image).combine_chunks()
            self.images = images.field("bytes") if self.columns.nested else images
            self.group = group
        return self.images[row - self.starts[group]].as_py() or b""


def _read_file(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ImageError(f"{size} bytes; {MAX_BYTES} are the most")
    return path.read_bytes()
