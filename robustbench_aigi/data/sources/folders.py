"""Class folders, in the arrangements that published datasets have."""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from robustbench_aigi.data.images import EXTENSIONS
from robustbench_aigi.data.sources.entry import Entry, Refused, Terms, fault_of, pattern_of, printable
from robustbench_aigi.errors import BadData

LAYOUTS = {
    "raid": ("{original,epsilonN}/{class}", r"(?P<category>original|epsilon[\d.]+)/CLASS"),
    "classes": ("{split}/{class}", r"SPLIT/CLASS(/.*)?"),
    "genimage": ("{generator}/{split}/{class}", r"(GENERATOR/(.*/)?)?SPLIT/CLASS"),
    "forensynths": ("[{split}/][{generator}/[{category}/]]{class}", r"(SPLIT/)?(GENERATOR/(CATEGORY/)?)?CLASS"),
    "folder": ("[{split}/]{class}[/{generator}]", r"(SPLIT/)?CLASS(/GENERATOR(/.*)?)?"),
}
"""How each arrangement is shown, and what a folder's path is matched with; tried in this order."""

SHOWN = 6


def folder_entries(root: Path, terms: Terms) -> Iterator[Entry | Refused]:
    """List the images of class folders; see :data:`LAYOUTS`.

    Raises:
        BadData: no folder fits.
    """
    layout = _told(root, terms)
    pattern = _pattern(layout, terms)
    for name, path, fault in image_files(root):
        folder, _, _ = name.rpartition("/")
        found = pattern.fullmatch(folder)
        fault = fault or fault_of(name)
        if not fault and found is None:
            fault = f"not in a folder of the layout {layout}: {LAYOUTS[layout][0]}"
        if fault or found is None:
            yield Refused(printable(name), fault)
        else:
            yield _entry(layout, name, path, found, terms)


def inside(root: Path, path: Path) -> bool:
    """Whether a path, its links followed, stays in the root, or in a hub's cache, which keeps the files in blobs."""
    home, end = (Path(os.path.realpath(place)) for place in (root, path))
    cached = home.parent.name == "snapshots" and end.is_relative_to(home.parent.with_name("blobs"))
    return cached or end.is_relative_to(home)


def _entry(layout: str, name: str, path: Path, found: re.Match[str], terms: Terms) -> Entry:
    words = found.groupdict()
    label = terms.label(words["cls"])
    if label is None:
        raise BadData(f"{path} is in no class of {', '.join(terms.labels)}. Add its folder to the recipe's labels.")
    stem = PurePosixPath(name).with_suffix("").as_posix()
    split = terms.split(words.get("split") or "")
    generator = words.get("generator") or ""
    if layout in ("forensynths", "genimage") and not label:
        generator = ""  # The folder names what the photographs are held against, not what made them.
    if not generator and label and words["cls"] not in terms.labels:
        generator = words["cls"].lower()  # gen_3 of the pattern gen_*
    parent = ""
    if layout == "raid":
        parent = stem.partition("/")[2]
    elif layout == "genimage" and not label:
        parent = f"{words['cls']}/{PurePosixPath(stem).name}"  # ImageNet's names: generators may share a photograph
    return Entry(stem, label, split, path, -1, generator, words.get("category") or "", parent)


def _told(root: Path, terms: Terms) -> str:
    """The recipe's layout, or the first of those that fit the most folders."""
    folders = {name.rpartition("/")[0] for name, _, _ in image_files(root)}
    tried = [terms.layout] if terms.layout else list(LAYOUTS)
    fitting = {layout: sum(map(bool, map(_pattern(layout, terms).fullmatch, folders))) for layout in tried}
    best = max(fitting, key=lambda layout: fitting[layout])
    if not fitting[best]:
        shown = ", ".join(printable(name) or "the folder itself" for name in sorted(folders)[:SHOWN])
        shown += f" and {len(folders) - SHOWN} more" if len(folders) > SHOWN else ""
        expected = " or ".join(LAYOUTS[layout][0] for layout in tried)
        raise BadData(
            f"{root} has no train or test folder, or no class folder, with images. Found images in: "
            f"{shown or 'no folder'}. Expected {expected}, with the classes {', '.join(terms.labels)}; other names go "
            "into the recipe, under [labels] and [splits]."
        )
    return best


def _pattern(layout: str, terms: Terms) -> re.Pattern[str]:
    classes = "|".join(map(pattern_of, terms.labels))
    splits = "|".join(map(re.escape, terms.splits))
    text = LAYOUTS[layout][1].replace("SPLIT", f"(?P<split>{splits})").replace("CLASS", f"(?P<cls>{classes})")
    for word in ("generator", "category"):
        text = text.replace(word.upper(), f"(?P<{word}>[^/]+)")
    return re.compile(text, re.IGNORECASE)


def image_files(root: Path) -> Iterator[tuple[str, Path, str]]:
    """Name below the root, path, and why it must not be opened, of everything called like an image."""
    lost: list[OSError] = []
    for place, folders, names in os.walk(root, onerror=lost.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        here = Path(place)
        for name in (name for name in folders if (here / name).is_symlink()):
            yield (here / name).relative_to(root).as_posix(), here / name, "a link to a folder; give the folder itself"
        for name in sorted(names):
            path = here / name
            if path.suffix.lower() in EXTENSIONS and not name.startswith("."):
                yield path.relative_to(root).as_posix(), path, _fault(root, path)
    for error in lost:
        path = Path(str(error.filename))
        yield path.relative_to(root).as_posix(), path, f"cannot be listed: {error.strerror}"


def _fault(root: Path, path: Path) -> str:
    if path.is_symlink() and not inside(root, path):
        return "a link that leads out of the folder"
    return "" if path.is_file() else "a broken link, or not a file"
