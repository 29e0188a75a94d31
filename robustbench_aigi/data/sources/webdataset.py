"""WebDataset shards: tar files of ``key.png`` with ``key.cls`` or with ``key.json``.

``.cls`` holds a class number or name, ``.json`` a ``label``. Nothing is unpacked: an image is read
from its place in the archive, which a manifest records as ``row``.
"""

import functools
import json
import tarfile
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

from robustbench_aigi.data.decoding import MAX_BYTES
from robustbench_aigi.data.image_formats import (
    IMAGE_EXTENSIONS,
    OTHER_EXTENSIONS,
    RAW_EXTENSIONS,
    SNIFFED_BYTES,
    looks_like_image,
)
from robustbench_aigi.data.sources.entry import TEXT_COLUMNS, Entry, Skipped, printable, skip_reason
from robustbench_aigi.data.sources.terms import Terms
from robustbench_aigi.errors import DataError

MAX_TEXT_BYTES = 2**20
"""Bytes of a ``.cls`` or ``.json`` file."""
CHECKED_BYTES = 2**20
"""Bytes read at once behind the last member."""
TEXT_ENDINGS = ("cls", "json")


class Member(NamedTuple):
    """A file in an archive.

    Attributes:
        key: its name without the ending.
        ending: in lower case, without the leading dot.
        position: byte of the archive at which its content begins.
        content: of the small text files; else empty.
        is_image: whether it is named, or begins, like an image.
    """

    key: str
    ending: str
    position: int
    content: bytes
    is_image: bool


def tar_entries(root: Path, shards: list[Path], terms: Terms) -> Iterator[Entry | Skipped]:
    """List the samples of tar files.

    The split is in the JSON, or in the name of the file or of its folder.

    Args:
        root: the source.
        shards: the files.
        terms: the recipe's words.

    Raises:
        DataError: a file is no tar archive, or has a split that the recipe does not know.
    """
    split_names = terms.splits_of_files(shards, root)
    for shard in shards:
        is_empty = True
        for key, group in groupby(_members(shard), key=_sample_key):
            is_empty = False
            sample = list(group)
            yield from (member for member in sample if isinstance(member, Skipped))
            good = {member.ending: member for member in sample if isinstance(member, Member)}
            if good:
                yield _entry(shard, key, good, split_names[shard], terms)
        if is_empty:
            yield Skipped(shard.name, "an archive without files")


def read_member(path: Path, position: int) -> bytes:
    """Return the bytes of the member whose content begins at ``position``.

    Args:
        path: a tar file.
        position: byte of the file.

    Raises:
        ValueError: there is no member, or not all of it.
    """
    with path.open("rb") as file:
        file.seek(position - tarfile.BLOCKSIZE)
        block = file.read(tarfile.BLOCKSIZE)
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.TarError as error:
            raise ValueError(f"the archive has no file at byte {position}") from error
        if not 0 <= header.size <= MAX_BYTES:
            raise ValueError(f"{header.size} bytes; {MAX_BYTES} are the most")
        content = file.read(header.size)
    if len(content) < header.size:
        raise ValueError("the archive ends in the middle of it")
    return content


def _sample_key(member: Member | Skipped) -> str:
    return member.name if isinstance(member, Skipped) else member.key


def _entry(
    shard: Path, key: str, sample: dict[str, Member], shard_split: str | None, terms: Terms
) -> Entry | Skipped:
    name = f"{shard.name}/{key}"
    images = [ending for ending, member in sample.items() if member.is_image]
    if len(images) != 1:
        return Skipped(name, f"{len(images)} images in one sample; expected one")
    if f".{images[0].rpartition('.')[2]}" in RAW_EXTENSIONS:
        return Skipped(name, "a raw camera file; develop it to PNG or JPEG first")
    try:
        facts = json.loads(sample["json"].content) if "json" in sample else {}
        is_class_file = "cls" in sample
        given = sample["cls"].content.decode().strip() if is_class_file else facts.get("label")
        texts = {column: str(facts.get(column) or "") for column in TEXT_COLUMNS}
    except (ValueError, AttributeError, RecursionError) as error:
        return Skipped(name, f"its .json or .cls cannot be read: {error}")
    label = terms.label_of(given)
    if label is None:
        return Skipped(name, _unknown_label(key, given, terms))
    split = terms.split_of_text(texts.pop("split"), name) or shard_split
    stem = f"{split}/{key}" if split else key
    return Entry(stem, label, split, shard, sample[images[0]].position, block=0, **texts)


def _unknown_label(key: str, given: object, terms: Terms) -> str:
    is_in_folder = given is None and "/" in key
    hint = "; if its folder is the class, unpack the archive" if is_in_folder else ""
    return f"label {given!r} in its .cls or .json; expected one of {terms.known_labels}{hint}"


def _members(shard: Path) -> Iterator[Member | Skipped]:
    last = 0
    with _open_tar(shard) as archive:
        try:
            for member in iter(archive.next, None):
                archive.members = []  # type: ignore[attr-defined]  # tarfile would keep them all
                if archive.offset <= last:
                    raise ValueError("a member of negative size")  # tarfile would read it for ever
                last = archive.offset
                if not member.isdir() and not _is_hidden(member.name):
                    yield _member(archive, member)
            _check_end(archive)
        except (tarfile.TarError, ValueError, OSError) as error:
            yield Skipped(shard.name, f"damaged; what lies before the damage is read ({error})")


def _check_end(archive: tarfile.TarFile) -> None:
    """Raise ``ValueError`` unless an archive ends where its last member does, in zeros alone."""
    file = archive.fileobj
    file.seek(archive.offset)
    rest = iter(functools.partial(file.read, CHECKED_BYTES), b"")
    first = next(rest, b"")
    if len(first) < tarfile.BLOCKSIZE:
        raise ValueError(f"cut off at byte {archive.offset}: it has no end mark")
    if first[: tarfile.BLOCKSIZE].strip(b"\0"):
        raise ValueError(f"no member at byte {archive.offset}")
    if any(part.strip(b"\0") for part in chain([first], rest)):
        raise ValueError(f"zeros at byte {archive.offset}, and more behind them")


def _open_tar(shard: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(shard, "r:")
    except (tarfile.TarError, ValueError, OSError) as error:
        raise DataError(
            f"{shard} is no readable tar archive ({error}). Unpack .tar.gz to .tar first; take a"
            " damaged one out of the folder, or download it again."
        ) from error


def _member(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Member | Skipped:
    folder, slash, base = member.name.removeprefix("./").rpartition("/")
    stem, _, ending = base.partition(".")
    ending = ending.lower()
    is_text = ending in TEXT_ENDINGS
    fault = skip_reason(member.name) or _member_fault(member, is_text)
    if fault is not None:
        return Skipped(printable(member.name), fault)
    content = archive.extractfile(member).read() if is_text else b""  # type: ignore[union-attr]
    is_image = not is_text and _is_image(archive, member, ending)
    return Member(f"{folder}{slash}{stem}", ending, member.offset_data, content, is_image)


def _member_fault(member: tarfile.TarInfo, is_text: bool) -> str | None:
    if not member.isfile() or member.issparse():
        return "a link or a device in an archive"
    limit = MAX_TEXT_BYTES if is_text else MAX_BYTES
    if not 0 <= member.size <= limit:
        return f"{member.size} bytes; {limit} are the most"
    return None


def _is_hidden(name: str) -> bool:
    parts = name.split("/")
    return parts[-1].startswith(".") or "__MACOSX" in parts[:-1]


def _is_image(archive: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> bool:
    """Return whether a member is named like an image, or begins like one if its name is unclear."""
    extension = f".{ending.rpartition('.')[2]}" if ending else ""
    if extension in IMAGE_EXTENSIONS or extension in OTHER_EXTENSIONS:
        return extension in IMAGE_EXTENSIONS
    return looks_like_image(archive.extractfile(member).read(SNIFFED_BYTES))  # type: ignore[union-attr]
