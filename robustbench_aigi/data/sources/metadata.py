"""Image folders that a table describes: ``metadata.jsonl`` or ``metadata.csv`` with ``file_name`` and ``label``.

Source: Hugging Face's ImageFolder.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

from robustbench_aigi.data.sources.entry import TEXTS, Entry, Refused, Terms, fault_of, printable
from robustbench_aigi.data.sources.folders import image_files, inside
from robustbench_aigi.errors import BadData

TABLES = ("metadata.jsonl", "metadata.csv")


def described(root: Path, terms: Terms) -> list[Path]:
    """The tables below a folder whose first row has a ``file_name`` and a ``label``, one that the recipe knows.

    A recipe of this layout takes unknown labels too, which are told when they are read.
    """
    found = sorted(path for name in TABLES for path in root.rglob(name) if inside(root, path))
    first = {path: next(_rows(path), {}) for path in found}
    whole = [path for path, row in first.items() if {"file_name", "label"} <= row.keys()]
    return [p for p in whole if terms.layout == "metadata" or terms.label_of(first[p]["label"]) is not None]


def metadata_entries(root: Path, tables: list[Path], terms: Terms) -> Iterator[Entry | Refused]:
    """List the rows of tables, and refuse the images of the folder that are in none.

    The split is a column, or the name of the table's folder.

    Raises:
        BadData: a table is damaged, or has a label that the recipe does not know.
    """
    faults = {name: fault for name, _, fault in image_files(root)}
    told: set[str] = set()
    for table in tables:
        named = terms.split_of(table)
        for number, row in enumerate(_rows(table), 1):
            given = str(row.get("file_name") or "")
            name = (table.parent.relative_to(root) / given).as_posix()
            fault = fault_of(given) or faults.get(name, "no image of this name is there")
            fault = fault or ("described before" if name in told else "")
            told.add(name)
            if fault:
                yield Refused(printable(name), fault)
                continue
            label = terms.label_of(row.get("label"))
            if label is None:
                known = ", ".join([*terms.labels, *map(str, terms.numbers)])
                raise BadData(
                    f"{table} row {number} has label {row.get('label')!r}. Expected one of {known}; others go into the "
                    'recipe, under [labels] and [numbers]. To go by folders instead, write layout = "folder" there.'
                )
            texts = {column: str(row.get(column) or "") for column in TEXTS}
            split = terms.split(texts.pop("split")) or named
            yield Entry(name.rpartition(".")[0], label, split, root / name, -1, block=0, **texts)
    for name, fault in faults.items():
        if name not in told:
            yield Refused(printable(name), fault or f"not in {' or '.join(TABLES)}")


def _rows(table: Path) -> Iterator[dict[str, object]]:
    try:
        with table.open(encoding="utf-8", newline="") as file:
            if table.suffix == ".csv":
                yield from csv.DictReader(file)
            else:
                yield from (dict(json.loads(line)) for line in file if line.strip())
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise BadData(
            f'{table} cannot be read ({error}). Mend it, or write layout = "folder" in the recipe.'
        ) from error
