"""A recipe's words, and what they mean in a source."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from robustbench_aigi.data.sources.splits import SPLIT_NAMES, splits_of_files
from robustbench_aigi.errors import DataError

BLANK_LABELS = frozenset({"", "-1", "nan", "null", "none", "na", "n/a"})
"""Labels, as text in lower case, that stand for "no label"."""


class Terms(NamedTuple):
    """A recipe's words, and what they mean.

    Attributes:
        labels: class names to labels; in a name ``*`` stands for anything.
        numbers: class numbers to labels.
        splits: folder and file names to splits.
        layout: how the source is laid out; found by looking if None.
        generators: folder names of generators in lower case, whatever else they may mean.
    """

    labels: Mapping[str, int]
    numbers: Mapping[int, int]
    splits: Mapping[str, str] = SPLIT_NAMES
    layout: str | None = None
    generators: frozenset[str] = frozenset()

    def label(self, name: str) -> int | None:
        """Return the label of a class name, upper or lower case; None if it is unknown.

        Example:
            >>> Terms({"real": 0, "gen_*": 1}, {}).label("GEN_7")
            1
        """
        return next(
            (
                label
                for own, label in self.labels.items()
                if re.fullmatch(pattern_of(own), name, re.IGNORECASE)
            ),
            None,
        )

    def label_of(self, given: object, names: Sequence[str] = ()) -> int | None:
        """Return the label of a class number or a class name; None if it is unknown.

        Args:
            given: a cell of a table, a text, or a list of one of them.
            names: class names by number that the source itself has; they beat ``numbers``.
        """
        value = _plain(given)
        if isinstance(value, str):
            label = self.label(value)
            if label is not None or not re.fullmatch(r"[0-9]{1,9}(\.0+)?", value):
                return label
            value = int(float(value))
        if not isinstance(value, int):
            return None
        if names:
            return self.label(names[value]) if 0 <= value < len(names) else None
        return self.numbers.get(value)

    @property
    def split_names(self) -> dict[str, str]:
        """Names of splits to splits, less the names of generators."""
        return {
            own: split for own, split in self.splits.items() if own.lower() not in self.generators
        }

    @property
    def known_labels(self) -> str:
        """The class names and numbers, for messages."""
        return ", ".join([*self.labels, *map(str, self.numbers)])

    def split(self, name: str) -> str | None:
        """Return the split that a folder is named after, upper or lower case; None if none is."""
        return next(
            (split for own, split in self.split_names.items() if own.lower() == name.lower()), None
        )

    def split_of_text(self, text: str, where: str) -> str | None:
        """Return the split that a column or a JSON file names; None for an empty text.

        Args:
            text: what stands there.
            where: the place, for the message.

        Raises:
            DataError: the recipe does not know the split.
        """
        if not text.strip():
            return None
        split = self.split(text.strip())
        if split is None:
            raise DataError(
                f"{where} has the split {text!r}, which the recipe does not know. Known:"
                f" {', '.join(self.splits)}. {recipe_line(self, [text])}"
            )
        return split

    def splits_of_files(self, files: Sequence[Path], root: Path) -> dict[Path, str | None]:
        """Return the split that each file's name, or else that of a folder above it, stands for.

        Args:
            files: such as ``train-00000-of-00004.parquet``.
            root: the source.

        Raises:
            DataError: see :func:`~robustbench_aigi.data.sources.splits.splits_of_files`.
        """
        return splits_of_files(self.split_names, files, root)


def recipe_line(terms: Terms, names: Sequence[str]) -> str:
    """Return what to write in a recipe so that unknown names of splits are known.

    Args:
        terms: the recipe's words so far.
        names: the unknown names.
    """
    known = [f'"{own}" = "{split}"' for own, split in terms.splits.items() if own == split]
    new = [f'"{name}" = "..."' for name in names]
    return (
        f"Write in a recipe of your own: splits = {{ {', '.join([*known, *new])} }} with train,"
        " validation or test instead of the dots."
    )


def is_unlabelled(given: object) -> bool:
    """Return whether a source's label stands for none: empty, -1, NaN, or a list of several.

    Example:
        >>> is_unlabelled("N/A"), is_unlabelled(0)
        (True, False)
    """
    value = _plain(given)
    if value is None or isinstance(value, list | dict):
        return True
    if isinstance(value, float) and math.isnan(value):
        return True
    return str(value).lower() in BLANK_LABELS


def _plain(given: object) -> object:
    """Return a label as a whole number or a stripped text where it is one.

    Of a list of one, its entry counts.
    """
    while isinstance(given, list | tuple) and len(given) == 1:
        given = given[0]
    if isinstance(given, float | Decimal) and math.isfinite(given) and given == int(given):
        return int(given)
    if isinstance(given, bool):
        return int(given)
    if isinstance(given, bytes):
        return given.decode(errors="replace").strip()
    return given.strip() if isinstance(given, str) else given


def pattern_of(name: str) -> str:
    r"""Return the regular expression of a class name, in which ``*`` stands for anything but /.

    Example:
        >>> pattern_of("gen_*")
        'gen_[^/]*'
    """
    return re.escape(name).replace(r"\*", "[^/]*")
