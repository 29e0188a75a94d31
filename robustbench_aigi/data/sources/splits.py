"""Names of splits: which ones are known, and which split the name of a file or folder stands
for.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from robustbench_aigi.errors import DataError

Split = Literal["train", "validation", "test"]
SPLITS: dict[str, Split] = {
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
"""Names that mean a split wherever they stand as a word, ``train2017`` or ``data-train-0000.tar``;
the others are words of their own (``flux-dev``, ``~/dev``) and mean one only where a name begins
with them, below the source.
"""


def splits_of(
    splits: Mapping[str, str], shards: Iterable[Path], root: Path
) -> dict[Path, str | None]:
    """The split that each file's name, or else a folder's above it, stands for; None if there is
    none.

    Args:
        splits: names to splits. root: the source, a folder above the files or the file itself.

    Raises:
        DataError: a file's name has names of two splits, or two names of one split stand side by
            side.
    """
    named = {shard: _named(splits, shard, root) for shard in shards}
    one_name_each(splits, [name for name in named.values() if name], root)
    return {shard: _of(splits, name) if name else None for shard, name in named.items()}


def _named(splits: Mapping[str, str], shard: Path, root: Path) -> str | None:
    """The name of a split in a file's name, or else of a folder above it."""
    found = _words(splits, shard.stem)
    if len(set(found.values())) > 1:
        raise DataError(
            f"{shard.name} has the names of several splits: {', '.join(found)}. Rename it, or write"
            " its whole name in "
            f'a recipe of your own: splits = {{ "{shard.stem}" = "test" }}.'
        )
    if found:
        return next(iter(found))
    above = list(shard.relative_to(root).parent.parts) if root in shard.parents else []
    for name in reversed(above):
        if _of(splits, name):
            return name
    outside = (root if root in shard.parents else shard.parent).name
    return (
        outside
        if _of(splits, outside) and (splits != SPLITS or outside.lower() in PLAIN_NAMES)
        else None
    )


def suspects(splits: Mapping[str, str], name: str) -> str | None:
    """The split that a folder's name, known as none, seems to mean: ``train`` of
    ``train_images``.
    """
    found = {
        split
        for own, split in splits.items()
        if own.lower() in PLAIN_NAMES and _is_word(own, name.lower())
    }
    return next(iter(found)) if len(found) == 1 else None


def one_name_each(splits: Mapping[str, str], names: Iterable[str], where: Path) -> None:
    """Raise ``DataError`` if two of the usual names found side by side stand for one split, such as
    dev and val.

    A recipe's own table of splits may join several names.
    """
    if splits != SPLITS:
        return
    by_split: dict[str, set[str]] = {}
    for name in names:
        if split := _of(splits, name):
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


def _of(splits: Mapping[str, str], name: str) -> str | None:
    return next((split for own, split in splits.items() if own.lower() == name.lower()), None)


def _words(splits: Mapping[str, str], stem: str) -> dict[str, str]:
    """The names of splits in a file's name; the whole name if it is one."""
    if whole := _of(splits, stem):
        return {stem: whole}
    name = stem.lower()
    free = splits != SPLITS
    return {
        own: split
        for own, split in splits.items()
        if _is_word(own, name) and (free or own in PLAIN_NAMES or name.startswith(own))
    }


def _is_word(word: str, name: str) -> bool:
    return re.search(rf"(?<![a-z]){re.escape(word.lower())}(?![a-z])", name) is not None
