"""Names of splits: which are known, and which split the name of a file or folder stands for."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, get_args

from robustbench_aigi.errors import DataError

Split = Literal["train", "validation", "test"]
SPLIT_ORDER: tuple[Split, ...] = get_args(Split)
SPLIT_NAMES: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "trn": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "devel": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
    "tst": "test",
    "eval": "test",
    "evaluation": "test",
    "holdout": "test",
    "hold-out": "test",
    "hold_out": "test",
}
"""Folder and file names, upper or lower case. ``eval`` is a test split and ``dev`` a validation
split, as in Hugging Face's ``datasets``.
"""
PLAIN_NAMES = frozenset({"train", "training", "validation", "valid", "val", "test", "testing"})
"""Names that mean a split wherever they stand as a word, ``train2017`` or ``data-train-0000.tar``.
The others are words of their own (``flux-dev``, ``~/dev``): they mean a split only at the start of
a name, below the source.
"""


def splits_of_files(
    splits: Mapping[str, str], files: Iterable[Path], root: Path
) -> dict[Path, str | None]:
    """Return the split that each file's name, or else that of a folder above it, stands for.

    Args:
        splits: names to splits.
        files: data files.
        root: the source: a folder above the files, or the file itself.

    Returns:
        File to split; None where no name stands for one.

    Raises:
        DataError: a name has two splits in it, or two names of one split stand side by side.
    """
    named = {file: _split_name(splits, file, root) for file in files}
    check_one_name_each(splits, [name for name in named.values() if name], root)
    return {file: _split_of(splits, name) if name else None for file, name in named.items()}


def likely_split(splits: Mapping[str, str], name: str) -> str | None:
    """Return the split that an unknown folder name seems to mean; None if it seems to mean none.

    Args:
        splits: names to splits.
        name: of a folder that is no known split.

    Example:
        >>> likely_split(SPLIT_NAMES, "train_images")
        'train'
        >>> likely_split(SPLIT_NAMES, "flux-dev") is None
        True
    """
    found = {
        split
        for own, split in splits.items()
        if own.lower() in PLAIN_NAMES and _has_word(own, name.lower())
    }
    return next(iter(found)) if len(found) == 1 else None


def check_one_name_each(splits: Mapping[str, str], names: Iterable[str], where: Path) -> None:
    """Check that no two names found side by side stand for one split, such as dev and val.

    A recipe's own table of splits may join several names.

    Args:
        splits: names to splits.
        names: what was found.
        where: the place, for the message.

    Raises:
        DataError: two names stand for one split.
    """
    if splits != SPLIT_NAMES:
        return
    by_split: dict[str, set[str]] = {}
    for name in names:
        split = _split_of(splits, name)
        if split is not None:
            by_split.setdefault(split, set()).add(name.lower())
    for split, found in by_split.items():
        if len(found) > 1:
            both = sorted(found)
            known = ", ".join(f'"{name}" = "{split}"' for name in both)
            raise DataError(
                f"{where} has {' and '.join(both)}, which would both be read as the {split} split."
                f" Say which is which in a recipe of your own: splits = {{ {known}, ... }}, or"
                " leave one of them out."
            )


def _split_name(splits: Mapping[str, str], file: Path, root: Path) -> str | None:
    """Return the name of a split in a file's name, or else the name of a folder above it."""
    found = _split_words(splits, file.stem)
    if len(set(found.values())) > 1:
        raise DataError(
            f"{file.name} has the names of several splits: {', '.join(found)}. Rename it, or write"
            " its whole name in "
            f'a recipe of your own: splits = {{ "{file.stem}" = "test" }}.'
        )
    if found:
        return next(iter(found))
    is_below_root = root in file.parents
    folders = file.relative_to(root).parent.parts if is_below_root else ()
    for name in reversed(folders):
        if _split_of(splits, name):
            return name
    return _outer_name(splits, (root if is_below_root else file.parent).name)


def _outer_name(splits: Mapping[str, str], name: str) -> str | None:
    """Return the name of the source's own folder if it is a split's, and not by accident."""
    if not _split_of(splits, name):
        return None
    return name if splits != SPLIT_NAMES or name.lower() in PLAIN_NAMES else None


def _split_of(splits: Mapping[str, str], name: str) -> str | None:
    return next((split for own, split in splits.items() if own.lower() == name.lower()), None)


def _split_words(splits: Mapping[str, str], stem: str) -> dict[str, str]:
    """Return the names of splits in a file's name, with their splits."""
    whole = _split_of(splits, stem)
    if whole is not None:
        return {stem: whole}
    name = stem.lower()
    is_own_table = splits != SPLIT_NAMES
    return {
        own: split
        for own, split in splits.items()
        if _has_word(own, name) and (is_own_table or own in PLAIN_NAMES or name.startswith(own))
    }


def _has_word(word: str, name: str) -> bool:
    return re.search(rf"(?<![a-z]){re.escape(word.lower())}(?![a-z])", name) is not None
