"""Class folders: which layout they have, and the images in them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from robustbench_aigi.data.sources.entry import Entry, Skipped, printable, skip_reason
from robustbench_aigi.data.sources.layouts import (
    FolderLayout,
    candidate_layouts,
    folder_layouts,
    ordered_layouts,
)
from robustbench_aigi.data.sources.positions import check_splits, list_few
from robustbench_aigi.data.sources.survey import image_files
from robustbench_aigi.data.sources.terms import Terms
from robustbench_aigi.errors import DataError

WRAPPER_FOLDERS = frozenset(
    {"archive", "data", "dataset", "datasets", "download", "downloads", "images", "imgs"}
)
"""Names of a single top folder that is no generator's, even if a layout begins with generators."""
MAX_DEPTH = 5
"""Folders above the classes that are looked through."""
Matches = Mapping[str, list[re.Match[str]]]


class Fit(NamedTuple):
    """How class folders are read.

    Attributes:
        layout: their arrangement.
        above: top folders that all of them have in common, such as ``archive/``; empty if none.
        matched: number of folders that fit.
        labels: those of the classes that were found.
    """

    layout: FolderLayout
    above: str
    matched: int
    labels: frozenset[int]

    @property
    def why(self) -> str:
        """What the choice of the layout rests on."""
        below = f", below the top folder {self.above}" if self.above else ""
        return f"{self.matched} folders with images fit it{below}"


def folder_entries(root: Path, fit: Fit, terms: Terms) -> Iterator[Entry | Skipped]:
    """List the images of class folders.

    Args:
        root: the source.
        fit: how the folders are read.
        terms: the recipe's words.

    Raises:
        DataError: a class is unknown.
    """
    pattern = fit.layout.compile(terms)
    for file in image_files(root):
        inner = file.name.removeprefix(fit.above)
        match = pattern.fullmatch(inner.rpartition("/")[0])
        fault = file.fault or skip_reason(file.name)
        if fault is None and match is None:
            fault = f"not in a folder of the layout {fit.layout.name}: {fit.layout.shown}"
        if fault is not None or match is None:
            yield Skipped(printable(file.name), fault or "")
        else:
            yield _entry(fit, file.name, file.path, match, terms)


def fit_layout(root: Path, folders: Iterable[str], terms: Terms) -> Fit | None:
    """Return how class folders are read; None if no layout fits any of them.

    It is the recipe's layout, or the first of those that fit the most folders.

    Args:
        root: the source, for messages.
        folders: paths below the root of the folders that hold images.
        terms: the recipe's words.

    Raises:
        DataError: a folder beside the splits is no split, or a split's folder is elsewhere.
    """
    names = set(folders)
    above = _common_folders(names, terms)
    inner = {name.removeprefix(above) for name in names}
    check_splits(root, inner, terms)
    layouts = candidate_layouts(terms)
    matches: Matches = {
        name: list(filter(None, map(layout.compile(terms).fullmatch, inner)))
        for name, layout in layouts.items()
    }
    best = _best_layout(layouts, matches)
    if not matches[best]:
        return None
    _check_consumed(root, layouts[best], matches[best], terms)
    labels = {terms.label(match["cls"]) for match in matches[best]}
    known = frozenset(label for label in labels if label is not None)
    return Fit(layouts[best], above, len(matches[best]), known)


def _best_layout(layouts: Mapping[str, FolderLayout], matches: Matches) -> str:
    """Return the name of the first layout that fits the most folders, or of a general one."""
    best = max(matches, key=lambda name: len(matches[name]))
    if layouts[best].yields_to_general([match[0] for match in matches[best]]):
        for name, layout in layouts.items():
            if layout.is_general and len(matches[name]) == len(matches[best]):
                return name
    return best


def _common_folders(folders: set[str], terms: Terms) -> str:
    """Return the meaningless top folders of all class folders, as an unpacked archive has."""
    above = ""
    for _ in range(MAX_DEPTH):
        inner = {name.removeprefix(above) for name in folders if name.startswith(above)}
        paths = [name.split("/") for name in inner]
        tops = {path[0] for path in paths if any(terms.label(part) is not None for part in path)}
        if len(tops) != 1:
            return above
        top = next(iter(tops))
        if _has_meaning(top, inner, terms):
            return above
        above += f"{top}/"
    return above


def _has_meaning(top: str, folders: set[str], terms: Terms) -> bool:
    """Return whether a top folder is a split, a class, a generator, or a layout's own folder."""
    if terms.split(top) or terms.label(top) is not None or top.lower() in terms.generators:
        return True
    own_folders = [layout.top_folders for layout in ordered_layouts().values()]
    if any(own and re.fullmatch(own, top, re.IGNORECASE) for own in own_folders):
        return True
    if terms.layout not in folder_layouts.names() or top.lower() in WRAPPER_FOLDERS:
        return False
    # The recipe's layout may begin with a generator's folder.
    (layout,) = candidate_layouts(terms).values()
    return any(map(layout.compile(terms).fullmatch, folders))


def _check_consumed(
    root: Path, layout: FolderLayout, matches: Sequence[re.Match[str]], terms: Terms
) -> None:
    """Raise ``DataError`` for folders of splits that the layout would read as something else."""
    wrong: dict[str, list[str]] = {}
    for match in matches:
        splits = [part for part in match[0].split("/") if terms.split(part)]
        if match.groupdict().get("split"):
            splits.remove(match["split"])
        if splits:
            wrong[match[0]] = splits
    if wrong:
        names = sorted({name for own in wrong.values() for name in own})
        generators = ", ".join(f'"{name}" = "{name}"' for name in names)
        raise DataError(
            f"{root} has the folders {list_few(sorted(wrong))}, in which {' and '.join(names)}"
            f" would be read as no split: the layout is {layout.name}, {layout.shown}. Put the"
            " folders of splits first, such as train/real and test/real; or, if these are"
            f" generators, write in a recipe of your own: generators = {{ {generators} }}."
        )


def _entry(fit: Fit, name: str, path: Path, match: re.Match[str], terms: Terms) -> Entry:
    words = match.groupdict()
    label = terms.label(words["cls"])
    if label is None:
        raise DataError(
            f"{path} is in no class of {', '.join(terms.labels)}. Add its folder to the recipe's"
            " labels."
        )
    stem = PurePosixPath(name).with_suffix("").as_posix()
    return Entry(
        stem,
        label,
        terms.split(words.get("split") or ""),
        path,
        generator=_generator(fit.layout, words, label, terms),
        category=words.get("category") or "",
        parent=fit.layout.parent_of(stem.removeprefix(fit.above), words["cls"], label),
    )


def _generator(
    layout: FolderLayout, words: Mapping[str, str | None], label: int, terms: Terms
) -> str:
    if label == 0 and not layout.names_makers_of_reals:
        return ""
    generator = words.get("generator") or ""
    class_name = (words["cls"] or "").lower()
    is_pattern = class_name not in {own.lower() for own in terms.labels}
    if not generator and label and is_pattern:
        return class_name  # gen_3 of the pattern gen_*
    return generator
