"""Image folders that a table describes: ``metadata.jsonl`` or ``metadata.csv`` with ``file_name``
and ``label``.

Source: Hugging Face's ImageFolder.
"""

import codecs
import csv
import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

from robustbench_aigi.data.sources.entry import (
    TEXTS,
    Entry,
    Refused,
    Terms,
    printable,
    skip_reason,
    unlabelled,
)
from robustbench_aigi.data.sources.survey import image_files
from robustbench_aigi.errors import DataError

TABLES = ("metadata.jsonl", "metadata.csv")
NEEDED = frozenset({"file_name", "label"})
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""What a table begins with that says how its letters are stored."""
SEPARATORS = (",", ";", "\t", "|")


class Tables(NamedTuple):
    """The tables of a folder that describe its images, and what is wrong with the others."""

    good: list[Path]
    faults: dict[Path, str]


def described(tables: Sequence[Path], terms: Terms) -> Tables:
    """Sort tables by whether they have a ``file_name`` and a ``label``, one that the recipe knows.

    A recipe of the layout ``metadata`` takes unknown labels too, which are reported when they are
    read.
    """
    good, faults = [], {}
    for path in sorted(tables):
        rows = _rows(path)
        first = next(rows, {})
        if not first.keys() >= NEEDED:
            got = ", ".join(map(str, first)) or "no columns and rows"
            faults[path] = f"has {got}; expected the columns file_name and label"
            continue
        labels = (row.get("label") for row in chain([first], rows))
        label = next((given for given in labels if not unlabelled(given)), None)
        if terms.layout == "metadata" or terms.label_of(label) is not None:
            good.append(path)
        else:
            faults[path] = f"has the label {label!r}; expected one of {_known(terms)}"
    return Tables(good, faults)


def metadata_entries(root: Path, tables: list[Path], terms: Terms) -> Iterator[Entry | Refused]:
    """List the rows of tables, and refuse the images of the folder that are in none.

    The split is a column, or the name of the table's folder.

    Raises:
        DataError: a table is damaged, or has a label or a split that the recipe does not know.
    """
    faults = {file.name: file.fault for file in image_files(root)}
    known: set[str] = set()
    named = terms.splits_of(tables, root)
    for table in tables:
        for number, row in enumerate(_rows(table), 1):
            given = str(row.get("file_name") or "").replace("\\", "/")
            name = (table.parent.relative_to(root) / given).as_posix()
            fault = skip_reason(given) or faults.get(name, "no image of this name is there")
            fault = fault or ("described before" if name in known else "")
            known.add(name)
            if not fault and unlabelled(row.get("label")):
                fault = f"no label: {row.get('label')!r}"
            if fault:
                yield Refused(printable(name), fault)
                continue
            label = terms.label_of(row.get("label"))
            if label is None:
                raise DataError(
                    f"{table} row {number} has label {row.get('label')!r}. Expected one of"
                    f" {_known(terms)}; others go into the recipe, under [labels] and [numbers]. To"
                    ' go by folders instead, write layout = "folder" there.'
                )
            texts = {column: str(row.get(column) or "") for column in TEXTS}
            split = terms.split_said(texts.pop("split"), f"{table} row {number}") or named[table]
            yield Entry(_stem(name), label, split, root / name, -1, block=0, **texts)
    for name, fault in faults.items():
        if name not in known:
            yield Refused(printable(name), fault or f"not in {' or '.join(TABLES)}")


def _stem(name: str) -> str:
    folder, slash, base = name.rpartition("/")
    return folder + slash + (base.rpartition(".")[0] or base)


def _known(terms: Terms) -> str:
    return ", ".join([*terms.labels, *map(str, terms.numbers)])


def _rows(table: Path) -> Iterator[dict[str, object]]:
    """The rows of a table, by the names of its columns in lower case."""
    try:
        with table.open(encoding=_encoding(table), newline="") as file:
            if table.suffix.lower() == ".jsonl":
                yield from (dict(json.loads(line)) for line in file if line.strip())
            else:
                yield from _lines(file)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise DataError(
            f"{table} cannot be read ({error}). Save it as CSV in UTF-8, or mend it, or write "
            'layout = "folder" in the recipe.'
        ) from error


def _encoding(table: Path) -> str:
    with table.open("rb") as file:
        start = file.read(3)
    return next((name for mark, name in MARKS.items() if start.startswith(mark)), "utf-8")


def _lines(file: TextIO) -> Iterator[dict[str, object]]:
    """Rows of CSV as spreadsheets write it: separated by a comma, semicolon or tab, with names in
    any case.
    """
    head = file.readline()
    if re.fullmatch(r"sep=.\s*", head, re.IGNORECASE):
        head = file.readline()
    names = [
        [_column(name) for name in next(csv.reader([head], delimiter=mark), [])]
        for mark in SEPARATORS
    ]
    best = max(
        range(len(SEPARATORS)), key=lambda place: (len(NEEDED & {*names[place]}), len(names[place]))
    )
    for row in csv.reader(file, delimiter=SEPARATORS[best]):
        if any(cell.strip() for cell in row):
            cells = dict(zip(names[best], row, strict=False))
            yield {
                name: cell if name == "file_name" else cell.strip() for name, cell in cells.items()
            }


def _column(name: str) -> str:
    plain = re.sub(r"[\s-]+", "_", name.strip().lower())
    return "file_name" if plain == "filename" else plain
