"""Parquet files as Hugging Face writes an image dataset: ``image`` (struct of bytes and path) and
``label``.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.decoding import looks_like_image
from robustbench_aigi.data.sources.entry import (
    TEXTS,
    Entry,
    Refused,
    Terms,
    UnfitError,
    skip_reason,
    unlabelled,
)
from robustbench_aigi.errors import DataError

IMAGE_COLUMNS = ("image", "img", "image_bytes")
LABEL_COLUMNS = ("label", "labels")


class Columns(NamedTuple):
    """Where in a file the bytes of the images are, and what else is read: names as Parquet has
    them.
    """

    image: str
    nested: bool
    named: bool
    label: str

    @property
    def content(self) -> str:
        """The column of the bytes."""
        return f"{self.image}.bytes" if self.nested else self.image


class OtherTableError(DataError):
    """A Parquet file that holds no labelled images: another table."""


def parquet_entries(root: Path, shards: list[Path], terms: Terms) -> Iterator[Entry | Refused]:
    """List the rows of Parquet files; the split is a column, or in the name of the file or of its
    folder.

    Raises:
        DataError: a file is damaged, or lacks a column, or has a label or a split that the recipe
            does not know.
    """
    named = terms.splits_of(shards, root)
    block = 0
    for shard in shards:
        file, columns = opened(shard)
        reader = _Reader(shard, file, columns, terms, named[shard])
        row = 0
        for group in range(file.num_row_groups):
            block += 1
            try:
                rows = file.read_row_group(group, columns=reader.wanted).to_pylist()
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                yield Refused(f"{shard.name}/row group {group}", f"damaged: {error}")
                rows = []
            yield from (
                reader.entry(number, values, block) for number, values in enumerate(rows, row)
            )
            row += file.metadata.row_group(group).num_rows


class _Reader:
    """Turns the rows of one file into entries."""

    def __init__(
        self, shard: Path, file: pq.ParquetFile, columns: Columns, terms: Terms, split: str | None
    ) -> None:
        self._shard, self._file, self._columns, self._terms, self._split = (
            shard,
            file,
            columns,
            terms,
            split,
        )
        given = [name for name in TEXTS if name in file.schema_arrow.names]
        names = {name: _class_names(file, name) for name in given}
        self._texts = {name: names[name] for name in given if _is_text(file, name) or names[name]}
        self._names = _class_names(file, columns.label)
        self._labels: dict[object, int] = {}
        if None in [terms.label(name) for name in self._names]:
            raise UnfitError(
                f"{shard} names its classes {self._names}. Expected {', '.join(terms.labels)}; add"
                " them to the recipe, under [labels].",
                self._names,
                in_table=True,
            )

    @property
    def wanted(self) -> list[str]:
        """The columns to read, without the bytes."""
        place = [f"{self._columns.image}.path"] if self._columns.named else []
        return [*place, self._columns.label, *self._texts]

    def entry(self, number: int, values: dict[str, Any], block: int) -> Entry | Refused:
        """One row. Raises ``DataError`` for a label or a split that the recipe does not know."""
        given = values[self._columns.label]
        if unlabelled(given):
            return Refused(f"{self._shard.name}/{number}", f"no label: {given!r}")
        about = {
            key: _text(values[key], self._texts[key]) if key in self._texts else "" for key in TEXTS
        }
        split = (
            self._terms.split_said(about.pop("split"), f"{self._shard} row {number}") or self._split
        )
        name = _own_name(
            (values.get(self._columns.image) or {}).get("path") if self._columns.named else None
        )
        name = name or f"{self._shard.stem}-{number}"
        if fault := skip_reason(name):
            return Refused(f"{self._shard.name}/{number}", fault)
        stem = str(Path(f"{split}/{name}" if split else name).with_suffix(""))
        return Entry(
            stem, self._label(number, given), split, self._shard, number, block=block, **about
        )

    def _label(self, number: int, given: object) -> int:
        key = repr(given)
        if key not in self._labels:
            label = self._terms.label_of(given, self._names)
            if label is None:
                known = [*self._terms.labels, *map(str, self._names or self._terms.numbers)]
                numbers = (
                    ""
                    if self._names or self._terms.numbers
                    else ", or numbers that [numbers] of a recipe names"
                )
                raise UnfitError(
                    f"{self._shard} row {number} has label {given!r}. Expected one of"
                    f" {', '.join(known)}{numbers}.",
                    self._all_labels(),
                    in_table=True,
                )
            self._labels[key] = label
        return self._labels[key]

    def _all_labels(self) -> list[str]:
        """The class names in the column of labels; none if it has numbers."""
        if not _is_text(self._file, self._columns.label):
            return []
        values = self._file.read(columns=[self._columns.label]).column(0).unique().to_pylist()
        return [value for value in values if not unlabelled(value)]


def opened(path: Path) -> tuple[pq.ParquetFile, Columns]:
    """A Parquet file of labelled images. Raises ``DataError`` if it is damaged, ``OtherTableError``
    if it is another table.
    """
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is no readable Parquet file ({error}). Download it again."
        ) from error
    schema = file.schema_arrow
    image = next((name for name in IMAGE_COLUMNS if name in schema.names), None)
    label = next((name for name in LABEL_COLUMNS if name in schema.names), None)
    if image is None or label is None:
        got = ", ".join(schema.names)
        raise OtherTableError(
            f"{path} has the columns {got}. Expected image (struct of bytes and path) and label."
        )
    kind = schema.field(image).type
    inner = (
        {kind.field(i).name for i in range(kind.num_fields)} if pa.types.is_struct(kind) else set()
    )
    if "bytes" in inner:
        return file, Columns(image, nested=True, named="path" in inner, label=label)
    if not (
        (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)) and _holds_images(file, image)
    ):
        raise OtherTableError(
            f"{path} has a column {image} of {kind}. Expected a struct of bytes and path, or image"
            " files."
        )
    return file, Columns(image, nested=False, named=False, label=label)


def _holds_images(file: pq.ParquetFile, column: str) -> bool:
    """Whether the first value of a column of bytes begins as an image file does."""
    try:
        batch = next(file.iter_batches(16, columns=[column]), None)
    except (pa.ArrowException, OSError):
        return False
    values = [] if batch is None else [value for value in batch.column(0).to_pylist() if value]
    return bool(values) and looks_like_image(values[0])


def _own_name(path: str | None) -> str:
    """The path that stands beside the bytes; of one that is absolute, on whatever system, the last
    part.
    """
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", path or ""):
        return re.split(r"[/\\]", path or "")[-1]
    return path if path and path.strip("./\\") else ""


def _is_text(file: pq.ParquetFile, name: str) -> bool:
    kind = file.schema_arrow.field(name).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _text(value: object, names: list[str]) -> str:
    if isinstance(value, int):
        return names[value] if 0 <= value < len(names) else ""
    return str(value or "")


def _class_names(file: pq.ParquetFile, column: str) -> list[str]:
    metadata = (file.schema_arrow.metadata or {}).get(b"huggingface", b"{}")
    try:
        return [str(name) for name in json.loads(metadata)["info"]["features"][column]["names"]]
    except (ValueError, LookupError, TypeError):  # Hugging Face did not write it, or not of classes
        return []
