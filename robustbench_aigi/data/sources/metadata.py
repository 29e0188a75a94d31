"""Image folders that a table describes: ``metadata.jsonl`` or ``metadata.csv``.

The table has the columns ``file_name`` and ``label``. Source: Hugging Face's ImageFolder.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

from robustbench_aigi.data.sources.entry import TEXT_COLUMNS, Entry, Skipped, printable, skip_reason
from robustbench_aigi.data.sources.survey import image_files
from robustbench_aigi.data.sources.terms import Terms, is_unlabelled
from robustbench_aigi.errors import DataError

TABLE_NAMES = ("metadata.jsonl", "metadata.csv")
NEEDED_COLUMNS = frozenset({"file_name", "label"})
BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""First bytes of a table to its encoding."""
CSV_SEPARATORS = (",", ";", "\t", "|")
Row = dict[str, object]


class Tables(NamedTuple):
    """The tables of a folder.

    Attributes:
        good: those that describe images.
        faults: the others, with what is wrong with each.
    """

    good: list[Path]
    faults: dict[Path, str]


def sort_tables(paths: Sequence[Path], terms: Terms) -> Tables:
    """Sort tables by whether they have a ``file_name`` and a known ``label``.

    Args:
        paths: the tables.
        terms: the recipe's words. With the layout ``metadata`` unknown labels are taken too; they
            are reported when they are read.
    """
    good = []
    faults = {}
    for path in sorted(paths):
        fault = _table_fault(path, terms)
        if fault is None:
            good.append(path)
        else:
            faults[path] = fault
    return Tables(good, faults)


def metadata_entries(root: Path, tables: list[Path], terms: Terms) -> Iterator[Entry | Skipped]:
    """List the rows of tables, and skip the images of the folder that are in none.

    The split is a column, or the name of the table's folder.

    Args:
        root: the source.
        tables: the files.
        terms: the recipe's words.

    Raises:
        DataError: a table is damaged, or has an unknown label or split.
    """
    faults = {file.name: file.fault for file in image_files(root)}
    split_names = terms.splits_of_files(tables, root)
    described: set[str] = set()
    for table in tables:
        for number, row in enumerate(_rows(table), 1):
            given = str(row.get("file_name") or "").replace("\\", "/")
            name = (table.parent.relative_to(root) / given).as_posix()
            fault = skip_reason(given) or faults.get(name, "no image of this name is there")
            if not fault and name in described:
                fault = "described before"
            described.add(name)
            if not fault and is_unlabelled(row.get("label")):
                fault = f"no label: {row.get('label')!r}"
            if fault:
                yield Skipped(printable(name), fault)
            else:
                yield _entry(root, name, row, f"{table} row {number}", split_names[table], terms)
    for name, fault in faults.items():
        if name not in described:
            yield Skipped(printable(name), fault or f"not in {' or '.join(TABLE_NAMES)}")


def _entry(
    root: Path, name: str, row: Row, where: str, table_split: str | None, terms: Terms
) -> Entry:
    label = terms.label_of(row.get("label"))
    if label is None:
        raise DataError(
            f"{where} has label {row.get('label')!r}. Expected one of {terms.known_labels}; others"
            " go into the recipe, under [labels] and [numbers]. To go by folders instead, write"
            ' layout = "folder" there.'
        )
    texts = {column: str(row.get(column) or "") for column in TEXT_COLUMNS}
    split = terms.split_of_text(texts.pop("split"), where) or table_split
    return Entry(_stem(name), label, split, root / name, -1, block=0, **texts)


def _table_fault(path: Path, terms: Terms) -> str | None:
    rows = _rows(path)
    first = next(rows, {})
    if not first.keys() >= NEEDED_COLUMNS:
        got = ", ".join(map(str, first)) or "no columns and rows"
        return f"has {got}; expected the columns file_name and label"
    labels = (row.get("label") for row in chain([first], rows))
    label = next((given for given in labels if not is_unlabelled(given)), None)
    if terms.layout == "metadata" or terms.label_of(label) is not None:
        return None
    return f"has the label {label!r}; expected one of {terms.known_labels}"


def _stem(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)


def _rows(table: Path) -> Iterator[Row]:
    """Yield the rows of a table, by the names of its columns in lower case."""
    try:
        with table.open(encoding=_encoding(table), newline="") as file:
            if table.suffix.lower() == ".jsonl":
                yield from (dict(json.loads(line)) for line in file if line.strip())
            else:
                yield from _csv_rows(file)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(
            f"{table} cannot be read ({error}). Save it as CSV in UTF-8, or repair it, or write"
            ' layout = "folder" in the recipe.'
        ) from error


def _encoding(table: Path) -> str:
    with table.open("rb") as file:
        start = file.read(3)
    marks = BYTE_ORDER_MARKS.items()
    return next((encoding for mark, encoding in marks if start.startswith(mark)), "utf-8")


def _csv_rows(file: TextIO) -> Iterator[Row]:
    """Yield the rows of a CSV file as spreadsheets write it, whatever its separator."""
    head = file.readline()
    if re.fullmatch(r"sep=.\s*", head, re.IGNORECASE):
        head = file.readline()
    columns_by_separator = {
        separator: [_column(name) for name in next(csv.reader([head], delimiter=separator), [])]
        for separator in CSV_SEPARATORS
    }
    separator, columns = max(
        columns_by_separator.items(),
        key=lambda item: (len(NEEDED_COLUMNS & set(item[1])), len(item[1])),
    )
    for values in csv.reader(file, delimiter=separator):
        if any(value.strip() for value in values):
            row = dict(zip(columns, values, strict=False))
            yield {
                name: value if name == "file_name" else value.strip() for name, value in row.items()
            }


def _column(name: str) -> str:
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return "file_name" if plain == "filename" else plain
