"""What lies below a folder, file by file: images, shards, tables, and what is passed over."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from robustbench_aigi.data.decoding import (
    EXTENSIONS,
    PROSE,
    RAW_CAMERA,
    SNIFFED_BYTES,
    TIFF,
    looks_like_image,
)
from robustbench_aigi.data.sources.entry import Refused

TABLE_ENDINGS = (".csv", ".tsv", ".jsonl")
SHARD_ENDINGS = {".parquet": "parquet", ".tar": "webdataset"}
MAC_FOLDER = "__MACOSX"


class File(NamedTuple):
    """Something below a folder.

    ``name`` is relative to it, ``kind`` one of image, parquet, webdataset, table, link (to a
    folder), lost (a folder that cannot be listed), hidden (a shard that is passed over) or other;
    ``fault`` says why it must not be opened.
    """

    name: str
    path: Path
    kind: str
    fault: str = ""


@dataclass
class Survey:
    """What a folder holds; of images only how many there are in each folder below it."""

    images: Counter[str] = field(default_factory=Counter)
    shards: dict[str, list[Path]] = field(
        default_factory=lambda: {kind: [] for kind in SHARD_ENDINGS.values()}
    )
    tables: list[Path] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    left: list[Refused] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, root: Path) -> "Survey":
        """Look through a folder once."""
        found = cls()
        for file in files_below(root):
            if file.kind == "image" and not file.path.is_dir():
                found.images[file.name.rpartition("/")[0]] += 1
            elif file.kind in found.shards and not file.fault:
                found.shards[file.kind].append(file.path)
            elif file.kind in found.shards or file.kind == "hidden":
                found.left.append(Refused(file.name, file.fault))
            elif file.kind == "table":
                found.tables.append(file.path)
            elif file.kind == "link":
                found.links.append(file.name)
            elif file.kind == "other":
                found.others[_sort(file.name)] += 1
        return found


def files_below(root: Path) -> Iterator[File]:
    """Everything below a folder in the order of its names; links to folders and hidden folders are
    not entered.
    """
    lost: list[OSError] = []
    for place, folders, names in os.walk(root, onerror=lost.append):
        here = Path(place)
        below = here.relative_to(root)
        for name in sorted(folders):
            if (here / name).is_symlink() and not name.startswith("."):
                fault = "a link to a folder, which is not followed; put the folder itself there"
                yield File((below / name).as_posix(), here / name, "link", fault)
        if MAC_FOLDER in folders:
            yield File(
                (below / MAC_FOLDER).as_posix(),
                here / MAC_FOLDER,
                "hidden",
                "left by macOS; it holds no images",
            )
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name != MAC_FOLDER
        )
        for name in sorted(names):
            yield _file(root, (below / name).as_posix(), here / name)
    for error in lost:
        path = Path(str(error.filename))
        yield File(
            path.relative_to(root).as_posix(), path, "lost", f"cannot be listed: {error.strerror}"
        )


def image_files(root: Path) -> Iterator[File]:
    """The images below a folder, and the links and folders that are not looked into."""
    return (file for file in files_below(root) if file.kind in ("image", "link", "lost"))


def inside(root: Path, path: Path) -> bool:
    """Whether a path, its links followed, stays in the root, or in a hub's cache, which keeps the
    files in blobs.
    """
    home, end = (Path(os.path.realpath(place)) for place in (root, path))
    cached = home.parent.name == "snapshots" and end.is_relative_to(home.parent.with_name("blobs"))
    return cached or end.is_relative_to(home)


def _file(root: Path, name: str, path: Path) -> File:
    ending = path.suffix.lower()
    shard = SHARD_ENDINGS.get(ending)
    if path.name.startswith("."):
        return File(
            name,
            path,
            "hidden" if shard else "other",
            "hidden, as the files are that macOS adds" if shard else "",
        )
    if shard:
        return File(name, path, shard, _link_fault(root, path))
    if ending in TABLE_ENDINGS and path.stem.lower() == "metadata" and inside(root, path):
        return File(name, path, "table")
    if ending in RAW_CAMERA:
        return File(name, path, "image", "a raw camera file; develop it to PNG or JPEG first")
    if ending in EXTENSIONS or (
        ending not in PROSE and not _link_fault(root, path) and _is_image(path)
    ):
        return File(
            name, path, "image", _link_fault(root, path) or ("" if path.is_file() else BROKEN)
        )
    return File(name, path, "other")


BROKEN = "a broken link, or not a file"


def _link_fault(root: Path, path: Path) -> str:
    return (
        "a link that leads out of the folder"
        if path.is_symlink() and not inside(root, path)
        else ""
    )


def _is_image(path: Path) -> bool:
    """Whether a file whose name says nothing begins as an image does."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            start = file.read(SNIFFED_BYTES)
        return looks_like_image(start) or (not path.suffix and start.startswith(TIFF))
    except OSError:
        return False


def _sort(name: str) -> str:
    """What files that are passed over are counted by."""
    base = name.rpartition("/")[2]
    if base.startswith("."):
        return "hidden files"
    ending = Path(base).suffix.lower()
    return f"*{ending}" if ending else "files without an ending"
