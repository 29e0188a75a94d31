"""Parquet files of labelled images: opening one, and where in it the images are."""

import json
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.image_formats import looks_like_image
from robustbench_aigi.errors import DataError

IMAGE_COLUMNS = ("image", "img", "image_bytes")
LABEL_COLUMNS = ("label", "labels")
PROBED_ROWS = 16
"""Rows in which a column of bytes is searched for its first value."""


class Columns(NamedTuple):
    """Where in a file the images are.

    Attributes:
        image: the column of the images.
        nested: whether it is a struct of bytes, not bytes.
        named: whether the struct holds a path too.
        label: the column of the labels.
    """

    image: str
    nested: bool
    named: bool
    label: str

    @property
    def content(self) -> str:
        """The column of the bytes, as Parquet names it."""
        return f"{self.image}.bytes" if self.nested else self.image


def row_group_starts(path: Path) -> list[int]:
    """Return the first row of each row group of a Parquet file, and the number of rows.

    Args:
        path: the file.
    """
    metadata = pq.read_metadata(path)
    sizes = [metadata.row_group(place).num_rows for place in range(metadata.num_row_groups)]
    return [0, *accumulate(sizes)]


class OtherTableError(DataError):
    """A Parquet file that holds no labelled images: another table."""


def open_parquet(path: Path) -> tuple[pq.ParquetFile, Columns]:
    """Open a Parquet file of labelled images.

    Args:
        path: the file.

    Raises:
        OtherTableError: it holds no labelled images.
        DataError: it is damaged.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is no readable Parquet file ({error}). Download it again, or take it out of"
            " its folder."
        ) from error
    schema = file.schema_arrow
    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if image is None or label is None:
        raise OtherTableError(
            f"{path} has the columns {', '.join(schema.names)}. Expected image (struct of bytes and"
            " path) and label."
        )
    kind = schema.field(image).type
    fields = _struct_fields(kind)
    if "bytes" in fields:
        return file, Columns(image, nested=True, named="path" in fields, label=label)
    is_binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
    if not (is_binary and _holds_images(file, image)):
        raise OtherTableError(
            f"{path} has a column {image} of {kind}. Expected a struct of bytes and path, or image"
            " files."
        )
    return file, Columns(image, nested=False, named=False, label=label)


def other_table_reason(path: Path) -> str | None:
    """Return why a Parquet file holds no labelled images; None if it does, or is damaged.

    Args:
        path: the file.
    """
    try:
        open_parquet(path)
    except OtherTableError as reason:
        return str(reason).removeprefix(f"{path} ")
    except DataError:
        return None
    return None


def _struct_fields(kind: pa.DataType) -> set[str]:
    if not pa.types.is_struct(kind):
        return set()
    return {kind.field(i).name for i in range(kind.num_fields)}


def _holds_images(file: pq.ParquetFile, column: str) -> bool:
    """Return whether the first value of a column of bytes begins as an image file does."""
    try:
        batch = next(file.iter_batches(PROBED_ROWS, columns=[column]), None)
    except (pa.ArrowException, OSError):
        return False
    values = [] if batch is None else [value for value in batch.column(0).to_pylist() if value]
    return bool(values) and looks_like_image(values[0])


def is_text(file: pq.ParquetFile, name: str) -> bool:
    """Return whether a column holds texts.

    Args:
        file: an open file.
        name: of the column.
    """
    kind = file.schema_arrow.field(name).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def class_names(file: pq.ParquetFile, column: str) -> list[str]:
    """Return the class names of a column of class numbers, as Hugging Face records them.

    Args:
        file: an open file.
        column: its name; without class names the result is empty.
    """
    metadata = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        return [str(name) for name in json.loads(metadata)["info"]["features"][column]["names"]]
    except (ValueError, LookupError, TypeError):  # of another writer, or no column of classes
        return []
