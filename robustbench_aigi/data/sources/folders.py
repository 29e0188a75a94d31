"""Class folders, in the arrangements that published datasets have."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from robustbench_aigi.data.sources.entry import (
    Entry,
    Refused,
    Terms,
    UnfitError,
    pattern_of,
    printable,
    skip_reason,
)
from robustbench_aigi.data.sources.positions import check_splits
from robustbench_aigi.data.sources.survey import Survey, image_files
from robustbench_aigi.errors import DataError

LAYOUTS = {
    "raid": ("{original,epsilonN}/{class}", r"(?P<category>original|epsilon[\d.]+)/CLASS"),
    "classes": ("{split}/{class}", r"SPLIT/CLASS(/.*)?"),
    "genimage": ("{generator}/{split}/{class}", r"(GENERATOR/(.*/)?)?SPLIT/CLASS"),
    "forensynths": (
        "[{split}/][{generator}/[{category}/]]{class}",
        r"(SPLIT/)?(GENERATOR/(CATEGORY/)?)?CLASS",
    ),
    "folder": ("[{split}/]{class}[/{generator}]", r"(SPLIT/)?CLASS(/GENERATOR(/.*)?)?"),
}
"""How each arrangement is shown, and what a folder's path is matched with; tried in this order."""
WRAPPERS = frozenset(
    {"archive", "data", "dataset", "datasets", "download", "downloads", "images", "imgs"}
)
"""Names of a single top folder that are no generator's, even where a recipe's layout begins with
one.
"""
SHOWN = 6
TABLE_SORTS = frozenset({"*.csv", "*.tsv", "*.jsonl", "*.xlsx", "*.xls", "*.ods"})
MAX_DEPTH = 5
"""Folders above the classes that are looked through, at most."""


class Fit(NamedTuple):
    """How folders are read: a layout below ``above``, the top folders that all have in common (""
    or "archive/").
    """

    layout: str
    above: str
    matched: int
    labels: frozenset[int]

    @property
    def why(self) -> str:
        """What the choice of the layout rests on."""
        through = f", below the top folder {self.above}" if self.above else ""
        return f"{self.matched} folders with images fit it{through}"


def folder_entries(root: Path, fit: Fit, terms: Terms) -> Iterator[Entry | Refused]:
    """List the images of class folders; see :data:`LAYOUTS`."""
    pattern = _pattern(fit.layout, terms)
    for name, path, _, fault in image_files(root):
        inner = name.removeprefix(fit.above)
        found = pattern.fullmatch(inner.rpartition("/")[0])
        fault = fault or skip_reason(name)
        if not fault and found is None:
            fault = f"not in a folder of the layout {fit.layout}: {LAYOUTS[fit.layout][0]}"
        if fault or found is None:
            yield Refused(printable(name), fault)
        else:
            yield _entry(fit, name, path, found, terms)


def fitted(root: Path, folders: Iterable[str], terms: Terms) -> Fit | None:
    """The recipe's layout, or the first of those that fit the most folders; None if no folder fits.

    Args:
        folders: paths below the root of the folders that hold images.

    Raises:
        DataError: a folder stands where the splits stand and its name is no split's, or one of a
            split's name elsewhere.
    """
    names = set(folders)
    above = _above(names, terms)
    inner = {name.removeprefix(above) for name in names}
    check_splits(root, inner, terms)
    tried = [terms.layout] if terms.layout in LAYOUTS else list(LAYOUTS)
    matches = {
        layout: list(filter(None, map(_pattern(layout, terms).fullmatch, inner)))
        for layout in tried
    }
    best = max(matches, key=lambda layout: len(matches[layout]))
    if not matches[best]:
        return None
    if len(matches.get("folder", ())) == len(matches[best]) and (
        best == "forensynths" or _is_deep(best, matches[best])
    ):
        best = "folder"
    _check_consumed(root, best, matches[best], terms)
    labels = {terms.label(match["cls"]) for match in matches[best]}
    return Fit(
        best, above, len(matches[best]), frozenset(label for label in labels if label is not None)
    )


def _is_deep(layout: str, matches: Sequence[re.Match[str]]) -> bool:
    """Whether folders lie below the classes: they are generators, as in ``folder``, if no recipe
    says otherwise.
    """
    return layout == "classes" and any(match[0].count("/") > 1 for match in matches)


def unfitting(root: Path, survey: Survey, terms: Terms) -> UnfitError:
    """What is wrong with a folder in which no layout fits."""
    folders = sorted(survey.images)
    shown = _few([printable(name) or "the folder itself" for name in folders])
    tried = [terms.layout] if terms.layout in LAYOUTS else list(LAYOUTS)
    links = (
        f" Not followed are the links {_few(survey.links)}: put the folders themselves there."
        if survey.links
        else ""
    )
    passed = _few([f"{count} {sort}" for sort, count in survey.others.most_common()])
    others = f" Passed over: {passed}." if passed and not folders else ""
    if found := _few(sorted(sort for sort in survey.others if sort in TABLE_SORTS)):
        others += (
            f" There are tables ({found}): one of labels is read if it is metadata.csv, with"
            " file_name and label."
        )
    return UnfitError(
        f"{root} has no train or test folder, or no class folder, with images. Found images in:"
        f" {shown or 'no folder'}. Expected {' or '.join(LAYOUTS[layout][0] for layout in tried)},"
        f" with the classes {', '.join(terms.labels)}; other names go into the recipe, under"
        f" [labels] and [splits].{links}{others}",
        folders,
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (
        f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    )


def _above(folders: set[str], terms: Terms) -> str:
    """The top folders that all class folders have in common and that say nothing of them, as in an
    unpacked archive.
    """
    above = ""
    for _ in range(MAX_DEPTH):
        inner = {name.removeprefix(above) for name in folders if name.startswith(above)}
        parts = [name.split("/") for name in inner]
        tops = {own[0] for own in parts if any(terms.label(part) is not None for part in own)}
        if len(tops) != 1:
            return above
        top = next(iter(tops))
        meant = terms.split(top) or terms.label(top) is not None or top.lower() in terms.generators
        if meant or re.fullmatch(r"original|epsilon[\d.]+", top, re.IGNORECASE):
            return above
        own = terms.layout in LAYOUTS and top.lower() not in WRAPPERS
        if own and any(map(_pattern(str(terms.layout), terms).fullmatch, inner)):
            return above  # the recipe says that a generator's folder comes first
        above += f"{top}/"
    return above


def _check_consumed(
    root: Path, layout: str, matches: Sequence[re.Match[str]], terms: Terms
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
        own = ", ".join(f'"{name}" = "{name}"' for name in names)
        raise DataError(
            f"{root} has the folders {_few(sorted(wrong))}, in which {' and '.join(names)} would be"
            f" read as no split: the layout is {layout}, {LAYOUTS[layout][0]}. Put the folders of"
            " splits first, such as train/real and test/real; or, if these are generators, write"
            f" in a recipe of your own: generators = {{ {own} }}."
        )


def _entry(fit: Fit, name: str, path: Path, found: re.Match[str], terms: Terms) -> Entry:
    words = found.groupdict()
    label = terms.label(words["cls"])
    if label is None:
        raise DataError(
            f"{path} is in no class of {', '.join(terms.labels)}. Add its folder to the recipe's"
            " labels."
        )
    stem = PurePosixPath(name).with_suffix("").as_posix()
    split = terms.split(words.get("split") or "")
    generator = words.get("generator") or ""
    if fit.layout in ("forensynths", "genimage") and not label:
        generator = (  # The folder names what the photographs are held against, not what made them.
            ""
        )
    if (
        not generator
        and label
        and words["cls"].lower() not in {own.lower() for own in terms.labels}
    ):
        generator = words["cls"].lower()  # gen_3 of the pattern gen_*
    parent = ""
    if fit.layout == "raid":
        parent = stem.removeprefix(fit.above).partition("/")[2]
    elif fit.layout == "genimage" and not label:
        parent = (  # ImageNet's names: generators may share a photograph
            f"{words['cls']}/{PurePosixPath(stem).name}"
        )
    return Entry(stem, label, split, path, -1, generator, words.get("category") or "", parent)


def _pattern(layout: str, terms: Terms) -> re.Pattern[str]:
    classes = "|".join(map(pattern_of, terms.labels))
    splits = "|".join(map(re.escape, terms.split_names))
    text = (
        LAYOUTS[layout][1]
        .replace("SPLIT", f"(?P<split>{splits})")
        .replace("CLASS", f"(?P<cls>{classes})")
    )
    for word in ("generator", "category"):
        text = text.replace(word.upper(), f"(?P<{word}>[^/]+)")
    return re.compile(text, re.IGNORECASE)
