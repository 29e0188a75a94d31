"""The bytes and pixels behind the rows of a manifest, read as a stream or in any order."""

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, final

import numpy as np
import pandas as pd
import pyarrow as pa
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from robustbench_aigi.data.decoding import ImageError, Rows, decode, decode_image
from robustbench_aigi.data.sources.contents import MAX_CACHED, Contents
from robustbench_aigi.data.sources.parquet_file import row_group_starts
from robustbench_aigi.errors import DataError

CONVERT_COLUMN = "convert"
"""A further column where some images are converted: what was done to each, empty if nothing."""
ARCHIVE_COLUMN = "archive"
"""A column of a built set's manifest: the archive that holds the image, relative to the set."""


def read_contents(rows: pd.DataFrame) -> Iterator[bytes]:
    """Yield the bytes behind manifest rows, in order.

    Args:
        rows: a manifest.

    Raises:
        DataError: an image is missing.
    """
    contents = Contents()
    for position, (path, row) in enumerate(zip(rows["path"], rows["row"], strict=True)):
        try:
            yield contents.read(path, row)
        except ImageError as reason:
            raise DataError(_changed(rows, position, reason)) from reason


def read_pixels(rows: pd.DataFrame) -> Iterator[UInt8[Tensor, "3 h w"]]:
    """Yield the pixels behind manifest rows, uint8 ``(3, H, W)``, converted where the rows say so.

    Args:
        rows: a manifest.

    Raises:
        DataError: an image is missing, or is not what was listed.
    """
    contents = zip(read_contents(rows), is_converted(rows), strict=True)
    for position, (content, convert) in enumerate(contents):
        try:
            yield decode(content, convert=bool(convert))
        except ImageError as reason:
            raise DataError(_changed(rows, position, reason)) from reason


@final
class Reader:
    """The pixels of a manifest's images, in any order.

    It goes to worker processes; each opens files of its own.

    Args:
        table: columns ``id``, ``path``, ``row`` and ``convert``, a bool.
    """

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    @classmethod
    def of(cls, manifest: pd.DataFrame) -> "Reader":
        """Return the reader of a ``manifest``."""
        columns: dict[str, Any] = {
            name: manifest[name].to_numpy() for name in ("id", "path", "row")
        }
        return cls(pa.table(columns | {"convert": is_converted(manifest).to_numpy(dtype=bool)}))

    def __len__(self) -> int:
        return len(self._table)

    def __getstate__(self) -> dict[str, Any]:
        return {"_table": self._table}

    def joined(self, other: "Reader") -> "Reader":
        """Return the reader of both manifests, whose rows come before those of ``other``."""
        return Reader(pa.concat_tables([self._table, other._table]))

    @cached_property
    def _contents(self) -> Contents:
        return Contents(MAX_CACHED)

    def rows(self, row: int) -> Rows:
        """Return the pixels of an image, uint8 ``(H, W, 3)``, not to be written to.

        Args:
            row: of the manifest.

        Raises:
            DataError: it is missing, or is not what was listed.
        """
        name, path, place, convert = (column[row].as_py() for column in self._table.columns)
        try:
            return decode_image(self._contents.read(path, place), convert=convert).rows
        except ImageError as reason:
            raise DataError(_changed_text(name, path, reason)) from reason

    @cached_property
    def blocks(self) -> Int[Tensor, " n"]:
        """Numbers of what is read from disk at once: a row group of Parquet, or one image."""
        paths = self._table["path"].combine_chunks().dictionary_encode()
        codes = paths.indices.to_numpy()
        rows = self._table["row"].to_numpy()
        block = np.arange(len(codes))
        tables = rows >= 0
        for code, path in enumerate(paths.dictionary.to_pylist()):
            if path.lower().endswith(".tar"):
                continue
            own = np.flatnonzero((codes == code) & tables)
            if not len(own):
                continue
            group = np.searchsorted(row_group_starts(Path(path)), rows[own], side="right")
            _, at, which = np.unique(group, return_index=True, return_inverse=True)
            block[own] = own[at][which]
        return torch.from_numpy(np.unique(block, return_inverse=True)[1])


def is_converted(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Return which rows of a manifest are of images that a conversion changed."""
    if CONVERT_COLUMN not in rows:
        return pd.Series(False, index=rows.index)
    return rows[CONVERT_COLUMN].fillna("") != ""


def _changed(rows: pd.DataFrame, position: int, reason: ImageError) -> str:
    return _changed_text(rows["id"].iat[position], rows["path"].iat[position], reason)


def _changed_text(name: object, path: object, reason: ImageError) -> str:
    return (
        f"{name} at {path}: {reason}. It was readable when the dataset was listed: restore it, or"
        " load or build it again."
    )
