"""The bytes and pixels behind the rows of a manifest, read as a stream."""

from collections.abc import Iterator

import pandas as pd
from torch import Tensor

from robustbench_aigi.data.decoding import ImageError, decode
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.errors import DataError

CONVERT_COLUMN = "convert"
"""A further column where some images are converted: what was done to each, empty if nothing."""


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


def read_pixels(rows: pd.DataFrame) -> Iterator[Tensor]:
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


def is_converted(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Return which rows of a manifest are of images that a conversion changed."""
    if CONVERT_COLUMN not in rows:
        return pd.Series(False, index=rows.index)
    return rows[CONVERT_COLUMN].fillna("") != ""


def _changed(rows: pd.DataFrame, position: int, reason: ImageError) -> str:
    where = f"{rows['id'].iat[position]} at {rows['path'].iat[position]}"
    return (
        f"{where}: {reason}. It was readable when the dataset was listed: restore it, or load or"
        " build it again."
    )
