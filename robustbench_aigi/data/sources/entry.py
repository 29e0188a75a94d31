"""What a source lists: images before they are opened, and what is refused unopened."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, NamedTuple

Split = Literal["train", "validation", "test"]
SPLITS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
    "testing": "test",
}

TEXTS = ("generator", "category", "parent", "split")
"""What shards may say of an image beside its label."""


@dataclass(frozen=True)
class Entry:
    """One image before it is opened.

    ``stem`` is its name in the source; ``split`` None where the source has none; ``parent`` empty where the image is
    an original; ``row`` as in a manifest. Images of one ``block`` are read in any order at the same cost.
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


class Refused(NamedTuple):
    """What is not opened, and why."""

    stem: str
    reason: str


class Terms(NamedTuple):
    """A recipe's words: class names (``gen_*`` is a pattern) and class numbers to labels, folder names to splits."""

    labels: Mapping[str, int]
    numbers: Mapping[int, int]
    splits: Mapping[str, str] = SPLITS
    layout: str | None = None

    def label(self, name: str) -> int | None:
        """The label of a class name, upper or lower case; None if the recipe does not know it."""
        known = self.labels.items()
        return next((label for own, label in known if re.fullmatch(pattern_of(own), name, re.IGNORECASE)), None)

    def label_of(self, given: object) -> int | None:
        """The label of a class number or a class name; None if the recipe knows neither."""
        text = str(given)
        return self.numbers.get(int(text)) if re.fullmatch(r"\d{1,9}", text) else self.label(text)

    def split(self, name: str) -> str | None:
        """The split of a folder of this name, upper or lower case; None if it is no split's name."""
        return next((split for own, split in self.splits.items() if own.lower() == name.lower()), None)

    def split_of(self, shard: Path) -> str | None:
        """The split that a file such as ``train-00000-of-00004.parquet``, or else its folder, is named after."""
        words = re.split(r"[^a-z]+", shard.stem.lower())
        return next(filter(None, map(self.split, [*words, shard.parent.name])), None)


def pattern_of(name: str) -> str:
    """The regular expression of a class name, in which ``*`` stands for anything within a folder's name."""
    return re.escape(name).replace(r"\*", "[^/]*")


def fault_of(name: str) -> str:
    """Why a file of this name is refused unopened; empty if it is not."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8; rename it"
    path = PurePosixPath(name.replace("\\", "/"))
    if "\0" in name or path.is_absolute() or ".." in path.parts:
        return "its name leads out of the dataset; rename it"
    return ""


def printable(name: str) -> str:
    """The name with bytes that are not UTF-8 written out."""
    return name.encode(errors="backslashreplace").decode()
