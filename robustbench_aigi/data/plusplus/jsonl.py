"""The manifest of a built ``++`` set as JSON Lines, for programs without Parquet."""

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path

from robustbench_aigi.data.plusplus.reader import BuiltDataset, Record, within_split, without_place
from robustbench_aigi.io.files import atomic_write

METADATA_FILE = "metadata.jsonl"
"""Where Hugging Face's ``imagefolder`` reads labels."""


def json_line(row: Record) -> str:
    r"""Return a row as a line of JSON; NaN and infinite numbers become null.

    Example:
        >>> json_line({"id": "a", "eps": float("nan")})
        '{"id": "a", "eps": null}\n'
    """
    plain = {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
    return json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n"


def write_lines(path: Path, lines: Iterator[str]) -> None:
    """Write lines of UTF-8 text one at a time; the file is there when all are.

    Args:
        path: of the file.
        lines: each with its line end.
    """

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="\n") as file:
            file.writelines(lines)

    atomic_write(path, write)


def metadata_lines(
    built: BuiltDataset, split: str, name: Callable[[int, Record], str]
) -> Iterator[str]:
    """Yield the lines of a Hugging Face ``metadata.jsonl``: ``file_name``, then all columns.

    The row with the most values comes first, the others keep their order: readers take the types
    from the start of the file, where clean images alone would leave eps and others without one.

    Args:
        built: the set.
        split: of the rows.
        name: place in the split, and row, to the path of the file.
    """

    def line(position: int, row: Record) -> str:
        return json_line({"file_name": name(position, row), **without_place(row)})

    numbered = enumerate(built.rows(split))
    first, row = max(numbered, key=lambda pair: (_count_values(pair[1]), -pair[0]))
    yield line(first, row)
    for position, row in enumerate(built.rows(split)):
        if position != first:
            yield line(position, row)


def write_jsonl(folder: Path) -> None:
    """Write ``manifest.jsonl`` beside the Parquet manifest, and ``metadata.jsonl`` for each split.

    With the latter, ``datasets.load_dataset("imagefolder", data_dir=...)`` reads the folder itself;
    a set of archives has none.

    Args:
        folder: of a built set.

    Raises:
        DataError: it is none.
    """
    built = BuiltDataset(folder)
    write_lines(folder / "manifest.jsonl", map(json_line, built.rows()))
    if built.has_archives:
        return
    for split in built.counts():
        lines = metadata_lines(built, split, lambda _, row: within_split(row))
        write_lines(folder / split / METADATA_FILE, lines)


def _count_values(row: Record) -> int:
    """Count the values that are neither None nor NaN."""
    return sum(value is not None and value == value for value in row.values())
