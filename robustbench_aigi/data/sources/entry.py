"""What a source lists: images before they are opened, and what is skipped unopened."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from robustbench_aigi.errors import DataError

TEXT_COLUMNS = ("generator", "category", "parent", "split")
"""What tables and shards may hold beside an image's label."""


@dataclass(frozen=True)
class Entry:
    """One image before it is opened.

    Attributes:
        stem: its name in the source, without the ending.
        label: 1 is AI-generated, 0 is real.
        split: None where the source has none.
        path: the file that holds the image.
        row: as in a manifest.
        generator: empty if unknown.
        category: empty if unknown.
        parent: what the image was made from; empty for an original.
        block: images of one block are read in any order at the same cost.
    """

    stem: str
    label: int
    split: str | None
    path: Path
    row: int = -1
    generator: str = ""
    category: str = ""
    parent: str = ""
    block: int = 0


class Skipped(NamedTuple):
    """What is left out, and why."""

    name: str
    reason: str


class UnfitError(DataError):
    """No folder, or no class name, of a source fits the recipe.

    Attributes:
        folders: those that hold images, or the class names that a table has.
        in_table: whether ``folders`` are class names of a table.
    """

    def __init__(
        self, message: str, folders: Sequence[str] = (), *, in_table: bool = False
    ) -> None:
        super().__init__(message)
        self.folders = tuple(folders)
        self.in_table = in_table


def skip_reason(name: str) -> str | None:
    """Return why a file of this name is skipped unopened; None if it is not.

    Example:
        >>> skip_reason("../other/1.png")
        'its name leads out of the dataset; rename it'
        >>> skip_reason("real/1.png") is None
        True
    """
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    path = PurePosixPath(name.replace("\\", "/"))
    if "\0" in name or path.is_absolute() or ".." in path.parts:
        return "its name leads out of the dataset; rename it"
    return None


def printable(name: str) -> str:
    """Return the name with bytes that are not UTF-8 written out."""
    return name.encode(errors="backslashreplace").decode()
