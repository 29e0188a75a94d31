"""What a source lists: images before they are opened, and what is left out unopened."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from robustbench_aigi.data.sources.splits import SPLITS, splits_of
from robustbench_aigi.errors import DataError

TEXTS = ("generator", "category", "parent", "split")
"""What shards may say of an image beside its label."""
BLANK_WORDS = frozenset({"", "-1", "nan", "null", "none", "na", "n/a"})
"""Labels, as text in lower case, that stand for "no label"."""


@dataclass(frozen=True)
class Entry:
    """One image before it is opened.

    ``stem`` is its name in the source; ``split`` None where the source has none; ``parent`` empty
    where the image is an original; ``row`` as in a manifest. Images of one ``block`` are read in
    any order at the same cost.
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


class UnfitError(DataError):
    """No folder, or no class name, of a source fits the recipe.

    ``folders`` are those that hold images, or ``in_table`` the class names that a table has.
    """

    def __init__(
        self, message: str, folders: Sequence[str] = (), *, in_table: bool = False
    ) -> None:
        super().__init__(message)
        self.folders, self.in_table = tuple(folders), in_table


class Terms(NamedTuple):
    """A recipe's words: class names (``gen_*`` is a pattern) and class numbers to labels, folder
    names to splits.

    ``generators`` are folder names that the recipe knows as generators, whatever else they may
    mean.
    """

    labels: Mapping[str, int]
    numbers: Mapping[int, int]
    splits: Mapping[str, str] = SPLITS
    layout: str | None = None
    generators: frozenset[str] = frozenset()

    def label(self, name: str) -> int | None:
        """The label of a class name, upper or lower case; None if the recipe does not know it."""
        known = self.labels.items()
        return next(
            (label for own, label in known if re.fullmatch(pattern_of(own), name, re.IGNORECASE)),
            None,
        )

    def label_of(self, given: object, names: Sequence[str] = ()) -> int | None:
        """The label of a class number or a class name; None if the recipe knows neither.

        Args:
            names: class names by number that the source itself has; they beat the recipe's numbers.
        """
        value = _plain(given)
        if isinstance(value, str):
            named = self.label(value)
            if named is not None or not re.fullmatch(r"[0-9]{1,9}(\.0+)?", value):
                return named
            value = int(float(value))
        if not isinstance(value, int):
            return None
        if names:
            return self.label(names[value]) if 0 <= value < len(names) else None
        return self.numbers.get(value)

    @property
    def split_names(self) -> dict[str, str]:
        """The names of splits, less those that the recipe knows as generators."""
        return {
            own: split for own, split in self.splits.items() if own.lower() not in self.generators
        }

    def split(self, name: str) -> str | None:
        """The split of a folder of this name, upper or lower case; None if it is no split's
        name.
        """
        return next(
            (split for own, split in self.split_names.items() if own.lower() == name.lower()), None
        )

    def split_said(self, name: str, where: str) -> str | None:
        """The split that a column or a JSON file names; None for an empty one. Raises ``DataError``
        if it is unknown.
        """
        if not name.strip():
            return None
        split = self.split(name.strip())
        if split is None:
            raise DataError(
                f"{where} has the split {name!r}, which the recipe does not know. Known:"
                f" {', '.join(self.splits)}. {recipe_line(self, [name])}"
            )
        return split

    def splits_of(self, shards: Sequence[Path], root: Path) -> dict[Path, str | None]:
        """The split that each file such as ``train-00000-of-00004.parquet``, or else a folder above
        it, is named after.

        Raises:
            DataError: the names do not say one thing; see
                :func:`~robustbench_aigi.data.sources.splits.splits_of`.
        """
        return splits_of(self.split_names, shards, root)


def recipe_line(terms: Terms, names: Sequence[str]) -> str:
    """What to write in a recipe so that unknown names of splits are known."""
    known = [f'"{own}" = "{split}"' for own, split in terms.splits.items() if own == split]
    new = [f'"{name}" = "..."' for name in names]
    return (
        f"Write in a recipe of your own: splits = {{ {', '.join([*known, *new])} }} with train,"
        " validation or test in the place of the dots."
    )


def unlabelled(given: object) -> bool:
    """Whether a source's label says that an image has none: nothing, -1, not a number, a list of
    several.
    """
    value = _plain(given)
    return (
        value is None
        or isinstance(value, (list, dict))
        or (isinstance(value, float) and math.isnan(value))
        or str(value).lower() in BLANK_WORDS
    )


def _plain(given: object) -> object:
    """A label as a whole number or a stripped text where it is one; of a list of one, what is in
    it.
    """
    while isinstance(given, (list, tuple)) and len(given) == 1:
        given = given[0]
    if isinstance(given, (float, Decimal)) and math.isfinite(given) and given == int(given):
        return int(given)
    if isinstance(given, bool):
        return int(given)
    if isinstance(given, bytes):
        return given.decode(errors="replace").strip()
    return given.strip() if isinstance(given, str) else given


def pattern_of(name: str) -> str:
    """The regular expression of a class name, in which ``*`` stands for anything within a folder's
    name.
    """
    return re.escape(name).replace(r"\*", "[^/]*")


def skip_reason(name: str) -> str:
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
