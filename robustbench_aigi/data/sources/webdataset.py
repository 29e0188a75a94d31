"""WebDataset shards: tar files of ``key.png`` with ``key.cls`` (class number or name) or
``key.json`` (with ``label``).

Nothing is unpacked: an image is read from its place in the archive, which a manifest keeps as
    ``row``.
"""

import json
import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from robustbench_aigi.data.decoding import (
    EXTENSIONS,
    MOST_BYTES,
    PROSE,
    RAW_CAMERA,
    SNIFFED_BYTES,
    looks_like_image,
)
from robustbench_aigi.data.sources.entry import TEXTS, Entry, Refused, Terms, printable, skip_reason
from robustbench_aigi.errors import DataError

MOST_TEXT = 2**20


class Member(NamedTuple):
    """A file in an archive: ``key`` is its name without the ending, ``content`` that of the small
    text files.
    """

    key: str
    ending: str
    place: int
    content: bytes
    is_image: bool


def tar_entries(root: Path, shards: list[Path], terms: Terms) -> Iterator[Entry | Refused]:
    """List the samples of tar files; the split is in the JSON, or in the name of the file or of its
    folder.

    Raises:
        DataError: a file is no tar archive, or has a split that the recipe does not know.
    """
    named = terms.splits_of(shards, root)
    for shard in shards:
        members = _members(shard)
        for key, group in groupby(
            members, key=lambda m: m.stem if isinstance(m, Refused) else m.key
        ):
            sample = list(group)
            yield from (member for member in sample if isinstance(member, Refused))
            good = {member.ending: member for member in sample if isinstance(member, Member)}
            if good:
                yield _entry(shard, key, good, named[shard], terms)


def read_member(path: Path, place: int) -> bytes:
    """The bytes of the member whose data begin at ``place``. Raises ``ValueError`` if there is
    none, or not all.
    """
    with path.open("rb") as file:
        file.seek(place - tarfile.BLOCKSIZE)
        try:
            header = tarfile.TarInfo.frombuf(
                file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape"
            )
        except tarfile.TarError as error:
            raise ValueError(f"the archive has no file at byte {place}") from error
        if not 0 <= header.size <= MOST_BYTES:
            raise ValueError(f"{header.size} bytes; {MOST_BYTES} are the most")
        content = file.read(header.size)
    if len(content) < header.size:
        raise ValueError("the archive ends in the middle of it")
    return content


def _entry(
    shard: Path, key: str, sample: dict[str, Member], named: str | None, terms: Terms
) -> Entry | Refused:
    images = [ending for ending, member in sample.items() if member.is_image]
    if len(images) != 1:
        return Refused(f"{shard.name}/{key}", f"{len(images)} images in one sample; expected one")
    if f".{images[0].rpartition('.')[2]}" in RAW_CAMERA:
        return Refused(f"{shard.name}/{key}", "a raw camera file; develop it to PNG or JPEG first")
    try:
        about = json.loads(sample["json"].content) if "json" in sample else {}
        given = sample["cls"].content.decode().strip() if "cls" in sample else about.get("label")
        texts = {name: str(about.get(name) or "") for name in TEXTS}
    except (ValueError, AttributeError, RecursionError) as error:
        return Refused(f"{shard.name}/{key}", f"its .json or .cls cannot be read: {error}")
    label = terms.label_of(given)
    if label is None:
        wanted = ", ".join([*terms.labels, *map(str, terms.numbers)])
        unpack = (
            "; if its folder is the class, unpack the archive"
            if given is None and "/" in key
            else ""
        )
        return Refused(
            f"{shard.name}/{key}",
            f"label {given!r} in its .cls or .json; expected one of {wanted}{unpack}",
        )
    split = terms.split_said(texts.pop("split"), f"{shard.name}/{key}") or named
    stem = f"{split}/{key}" if split else key
    return Entry(stem, label, split, shard, sample[images[0]].place, block=0, **texts)


def _members(shard: Path) -> Iterator[Member | Refused]:
    last = 0
    with _opened(shard) as archive:
        try:
            for member in iter(archive.next, None):
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if archive.offset <= last:
                    raise ValueError("a member of negative size")  # tarfile would read it for ever
                last = archive.offset
                if not member.isdir() and not _is_hidden(member.name):
                    yield _member(archive, member)
            archive.fileobj.seek(archive.offset)
            if archive.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
                raise ValueError(f"no member at byte {archive.offset}")
        except (tarfile.TarError, ValueError, OSError) as error:
            yield Refused(shard.name, f"damaged; what lies before the damage is read ({error})")


def _opened(shard: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(shard, "r:")
    except (tarfile.TarError, ValueError, OSError) as error:
        raise DataError(
            f"{shard} is no readable tar archive ({error}). Unpack .tar.gz to .tar first."
        ) from error


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Member | Refused:
    folder, slash, base = member.name.removeprefix("./").rpartition("/")
    stem, _, ending = base.partition(".")
    ending = ending.lower()
    fault = skip_reason(member.name)
    if not fault and (not member.isfile() or member.issparse()):
        fault = "a link or a device in an archive"
    text = ending in ("cls", "json")
    most = MOST_TEXT if text else MOST_BYTES
    if not fault and not 0 <= member.size <= most:
        fault = f"{member.size} bytes; {most} are the most"
    if fault:
        return Refused(printable(member.name), fault)
    content = archive.extractfile(member).read() if text else b""  # type: ignore[union-attr]
    is_image = not text and _is_image(
        archive, member, f".{ending.rpartition('.')[2]}" if ending else ""
    )
    return Member(f"{folder}{slash}{stem}", ending, member.offset_data, content, is_image)


def _is_hidden(name: str) -> bool:
    parts = name.split("/")
    return parts[-1].startswith(".") or "__MACOSX" in parts[:-1]


def _is_image(archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> bool:
    """Whether a member is called like an image, or begins like one if its name says nothing."""
    if ending in EXTENSIONS or ending in PROSE:
        return ending in EXTENSIONS
    return looks_like_image(archive.extractfile(member).read(SNIFFED_BYTES))  # type: ignore[union-attr]
