"""What lies below a folder, file by file: images, shards, tables, and what is passed over."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from robustbench_aigi.data.image_formats import (
    IMAGE_EXTENSIONS,
    OTHER_EXTENSIONS,
    RAW_EXTENSIONS,
    SNIFFED_BYTES,
    TIFF_STARTS,
    looks_like_image,
)
from robustbench_aigi.data.sources.entry import Skipped
from robustbench_aigi.data.sources.shards import KIND_BY_ENDING, SHARD_KINDS

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl")
MAC_FOLDER = "__MACOSX"
RAW_FAULT = "a raw camera file; develop it to PNG or JPEG first"
BROKEN_LINK = "a broken link, or not a file"


class File(NamedTuple):
    """Something below a folder.

    Attributes:
        name: its path relative to the folder.
        path: its whole path.
        kind: image, parquet, webdataset, table, link (to a folder), lost (a folder that cannot be
            listed), hidden (a shard that is passed over) or other.
        fault: why it must not be opened; None if it may be.
    """

    name: str
    path: Path
    kind: str
    fault: str | None = None


@dataclass
class Survey:
    """What a folder holds.

    Attributes:
        images: number of images in each folder below it.
        shards: kind to the files of that kind.
        tables: files that may describe images.
        links: links to folders, which are not followed.
        skipped: shards that are passed over.
        others: number of other files by their ending.
    """

    images: Counter[str] = field(default_factory=Counter)
    shards: dict[str, list[Path]] = field(
        default_factory=lambda: {kind: [] for kind in SHARD_KINDS}
    )
    tables: list[Path] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, root: Path) -> "Survey":
        """Look through the folder ``root`` once."""
        survey = cls()
        for file in files_below(root):
            survey._add(file)
        return survey

    def _add(self, file: File) -> None:
        if file.kind == "image" and not file.path.is_dir():
            self.images[file.name.rpartition("/")[0]] += 1
        elif file.kind in self.shards and file.fault is None:
            self.shards[file.kind].append(file.path)
        elif file.kind in self.shards or file.kind == "hidden":
            self.skipped.append(Skipped(file.name, file.fault or ""))
        elif file.kind == "table":
            self.tables.append(file.path)
        elif file.kind == "link":
            self.links.append(file.name)
        elif file.kind == "other":
            self.others[_ending_group(file.name)] += 1


def files_below(root: Path) -> Iterator[File]:
    """Yield everything below a folder, sorted by name within each folder.

    Links to folders and hidden folders are not entered.

    Args:
        root: an existing folder.
    """
    lost: list[OSError] = []
    for place, folders, names in os.walk(root, onerror=lost.append):
        here = Path(place)
        below = here.relative_to(root)
        yield from _strange_folders(below, here, folders)
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != MAC_FOLDER
        )
        for name in sorted(names):
            yield _classify(root, (below / name).as_posix(), here / name)
    for error in lost:
        path = Path(str(error.filename))
        fault = f"cannot be listed: {error.strerror}"
        yield File(path.relative_to(root).as_posix(), path, "lost", fault)


def image_files(root: Path) -> Iterator[File]:
    """Yield the images below a folder, and the links and folders that are not looked into.

    Args:
        root: an existing folder.
    """
    return (file for file in files_below(root) if file.kind in ("image", "link", "lost"))


def is_inside(root: Path, path: Path) -> bool:
    """Return whether a path, its links followed, stays in a folder.

    The blobs of a hub's cache count as inside, because its snapshots are links to them.

    Args:
        root: the folder.
        path: a file below it.
    """
    home = Path(os.path.realpath(root))
    end = Path(os.path.realpath(path))
    blobs = home.parent.with_name("blobs")
    is_cached = home.parent.name == "snapshots" and end.is_relative_to(blobs)
    return is_cached or end.is_relative_to(home)


def _strange_folders(below: Path, here: Path, folders: list[str]) -> Iterator[File]:
    for name in sorted(folders):
        if (here / name).is_symlink() and not name.startswith("."):
            fault = "a link to a folder, which is not followed; put the folder itself there"
            yield File((below / name).as_posix(), here / name, "link", fault)
    if MAC_FOLDER in folders:
        name = (below / MAC_FOLDER).as_posix()
        yield File(name, here / MAC_FOLDER, "hidden", "left by macOS; it holds no images")


def _classify(root: Path, name: str, path: Path) -> File:
    ending = path.suffix.lower()
    shard = KIND_BY_ENDING.get(ending)
    if path.name.startswith("."):
        if shard is None:
            return File(name, path, "other")
        return File(name, path, "hidden", "hidden, as the files are that macOS adds")
    if shard is not None:
        return File(name, path, shard, _link_fault(root, path))
    if ending in TABLE_ENDINGS and path.stem.lower() == "metadata" and is_inside(root, path):
        return File(name, path, "table")
    if ending in RAW_EXTENSIONS:
        return File(name, path, "image", RAW_FAULT)
    if ending in IMAGE_EXTENSIONS or _is_unnamed_image(root, path):
        fault = _link_fault(root, path)
        if fault is None and not path.is_file():
            fault = BROKEN_LINK
        return File(name, path, "image", fault)
    return File(name, path, "other")


def _link_fault(root: Path, path: Path) -> str | None:
    if path.is_symlink() and not is_inside(root, path):
        return "a link that leads out of the folder"
    return None


def _is_unnamed_image(root: Path, path: Path) -> bool:
    """Return whether a file with a meaningless ending begins as an image does."""
    if path.suffix.lower() in OTHER_EXTENSIONS or _link_fault(root, path) is not None:
        return False
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(SNIFFED_BYTES)
    except OSError:
        return False
    return looks_like_image(start) or (not path.suffix and start.startswith(TIFF_STARTS))


def _ending_group(name: str) -> str:
    """Return what a file that is passed over is counted by."""
    base = name.rpartition("/")[2]
    if base.startswith("."):
        return "hidden files"
    ending = Path(base).suffix.lower()
    return f"*{ending}" if ending else "files without an ending"
