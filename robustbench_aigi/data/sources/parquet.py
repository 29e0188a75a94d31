"""Parquet files as Hugging Face writes image datasets: the columns ``image`` and ``label``.

``image`` is a struct of bytes and path, or the bytes alone.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.sources.entry import (
    TEXT_COLUMNS,
    Entry,
    Skipped,
    UnfitError,
    skip_reason,
)
from robustbench_aigi.data.sources.parquet_file import Columns, class_names, is_text, open_parquet
from robustbench_aigi.data.sources.terms import Terms, is_unlabelled


def parquet_entries(root: Path, shards: list[Path], terms: Terms) -> Iterator[Entry | Skipped]:
    """List the rows of Parquet files.

    The split is a column, or in the name of the file or of its folder.

    Args:
        root: the source.
        shards: the files.
        terms: the recipe's words.

    Raises:
        DataError: a file is damaged, lacks a column, or has an unknown label or split.
    """
    split_names = terms.splits_of_files(shards, root)
    block = 0
    for shard in shards:
        file, columns = open_parquet(shard)
        reader = _RowReader(shard, file, columns, terms, split_names[shard])
        start = 0
        for group in range(file.num_row_groups):
            block += 1
            try:
                rows = file.read_row_group(group, columns=reader.wanted).to_pylist()
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                yield Skipped(f"{shard.name}/row group {group}", f"damaged: {error}")
                rows = []
            for number, values in enumerate(rows, start):
                yield reader.entry(number, values, block)
            start += file.metadata.row_group(group).num_rows


class _RowReader:
    """Turns the rows of one file into entries."""

    def __init__(
        self, shard: Path, file: pq.ParquetFile, columns: Columns, terms: Terms, split: str | None
    ) -> None:
        self._shard = shard
        self._file = file
        self._columns = columns
        self._terms = terms
        self._split = split
        self._text_names = _text_columns(file)
        self._class_names = class_names(file, columns.label)
        self._labels: dict[str, int] = {}
        if None in [terms.label(name) for name in self._class_names]:
            raise UnfitError(
                f"{shard} names its classes {self._class_names}. Expected"
                f" {', '.join(terms.labels)}; add them to the recipe, under [labels].",
                self._class_names,
                in_table=True,
            )

    @property
    def wanted(self) -> list[str]:
        """The columns to read, without the bytes."""
        path = [f"{self._columns.image}.path"] if self._columns.named else []
        return [*path, self._columns.label, *self._text_names]

    def entry(self, number: int, values: dict[str, Any], block: int) -> Entry | Skipped:
        """Return one row as an entry. Raises ``DataError`` for an unknown label or split."""
        given = values[self._columns.label]
        if is_unlabelled(given):
            return Skipped(f"{self._shard.name}/{number}", f"no label: {given!r}")
        texts = dict.fromkeys(TEXT_COLUMNS, "")
        for column, names in self._text_names.items():
            texts[column] = _text(values[column], names)
        where = f"{self._shard} row {number}"
        split = self._terms.split_of_text(texts.pop("split"), where) or self._split
        name = self._name(number, values)
        fault = skip_reason(name)
        if fault is not None:
            return Skipped(f"{self._shard.name}/{number}", fault)
        stem = str(Path(f"{split}/{name}" if split else name).with_suffix(""))
        label = self._label(number, given)
        return Entry(stem, label, split, self._shard, number, block=block, **texts)

    def _name(self, number: int, values: dict[str, Any]) -> str:
        image = values.get(self._columns.image) if self._columns.named else None
        path = image.get("path") if image else None
        return _own_name(path) or f"{self._shard.stem}-{number}"

    def _label(self, number: int, given: object) -> int:
        key = repr(given)
        if key not in self._labels:
            label = self._terms.label_of(given, self._class_names)
            if label is None:
                raise self._unknown_label(number, given)
            self._labels[key] = label
        return self._labels[key]

    def _unknown_label(self, number: int, given: object) -> UnfitError:
        numbers = self._class_names or self._terms.numbers
        known = ", ".join([*self._terms.labels, *map(str, numbers)])
        hint = "" if numbers else ", or numbers that [numbers] of a recipe names"
        return UnfitError(
            f"{self._shard} row {number} has label {given!r}. Expected one of {known}{hint}.",
            self._all_labels(),
            in_table=True,
        )

    def _all_labels(self) -> list[str]:
        """Return the class names in the column of labels; none if it has numbers."""
        if not is_text(self._file, self._columns.label):
            return []
        values = self._file.read(columns=[self._columns.label]).column(0).unique().to_pylist()
        return [value for value in values if not is_unlabelled(value)]


def _text_columns(file: pq.ParquetFile) -> dict[str, list[str]]:
    """Return the columns of text, or of class numbers, with their class names."""
    found = {}
    for column in TEXT_COLUMNS:
        if column in file.schema_arrow.names:
            names = class_names(file, column)
            if names or is_text(file, column):
                found[column] = names
    return found


def _own_name(path: str | None) -> str:
    """Return the path that stands beside the bytes; of an absolute one, of any system, its end."""
    if re.match(r"[/\\]|[A-Za-z]:[/\\]", path or ""):
        return re.split(r"[/\\]", path or "")[-1]
    return path if path and path.strip("./\\") else ""


def _text(value: object, names: list[str]) -> str:
    if isinstance(value, int):
        return names[value] if 0 <= value < len(names) else ""
    return str(value or "")
