"""Texts and colour profiles in PNG files, which Pillow rejects where they are large."""

import io
import zlib
from collections.abc import Iterator

from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
"""First bytes of every PNG file."""
MAX_CHUNK = 2**20
"""Bytes that a text or a profile may unpack to; Pillow rejects an image above its same limit."""
MAX_TEXTS = 2**25
"""Bytes that all texts of a file may unpack to; half of Pillow's own limit."""
MAX_PROFILE = 2**24
"""Bytes of the largest colour profile that is kept for a conversion."""
TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
"""Names of the chunks with texts."""
PROFILE_CHUNK = b"iCCP"
"""Name of the chunk with the colour profile."""


def without_large_chunks(content: bytes) -> bytes:
    """Return a PNG file without the texts and the colour profile that are too large for Pillow.

    Chunks with pixels stay. A file of another format, or without such chunks, is returned as it is.

    Args:
        content: bytes of the file.
    """
    names = (*TEXT_CHUNKS, PROFILE_CHUNK)
    if not content.startswith(PNG_SIGNATURE) or not any(name in content for name in names):
        return content
    kept = [PNG_SIGNATURE]
    total = 0
    for name, data, chunk in _chunks(content):
        size = _unpacked_size(name, data)
        if size > MAX_CHUNK or total + size > MAX_TEXTS:
            continue
        total += size
        kept.append(chunk)
    return b"".join(kept)


def profile_of(content: bytes) -> bytes | None:
    """Return the colour profile of a PNG file; None if there is none, or a too large one.

    Args:
        content: bytes of the file.
    """
    if content.startswith(PNG_SIGNATURE):
        for name, data, _ in _chunks(content):
            if name == PROFILE_CHUNK:
                profile = _unpacked(data.partition(b"\0")[2][1:], MAX_PROFILE)
                return profile if profile and len(profile) <= MAX_PROFILE else None
    return None


def opened(content: bytes, formats: tuple[str, ...]) -> Image.Image:
    """Open an image file with Pillow; a PNG file's texts and profile may be of any size.

    It raises what Pillow raises.

    Args:
        content: bytes of the file.
        formats: names of the formats to try, as in Pillow.
    """
    rest = without_large_chunks(content)
    image = Image.open(io.BytesIO(rest), formats=formats)
    if len(rest) < len(content) and "icc_profile" not in image.info:
        profile = profile_of(content)
        if profile:
            image.info["icc_profile"] = profile
    return image


def _unpacked_size(name: bytes, data: bytes) -> int:
    """Return the bytes that a text or a profile unpacks to, at most one above the limit.

    Other chunks have 0.
    """
    if name in (PROFILE_CHUNK, b"zTXt"):
        return len(_unpacked(data.partition(b"\0")[2][1:], MAX_CHUNK))
    if name == b"iTXt":
        about = data.partition(b"\0")[2]
        text = about[2:].split(b"\0", 2)[-1]
        return len(_unpacked(text, MAX_CHUNK) if about[:1] == b"\1" else text)
    return len(data) if name in TEXT_CHUNKS else 0


def _unpacked(data: bytes, most: int) -> bytes:
    """Return at most one byte more than ``most``; nothing if the data are damaged."""
    try:
        return zlib.decompressobj().decompress(data, most + 1)
    except zlib.error:
        return b""


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield name, data and whole of each chunk; the last one may be cut off."""
    place = len(PNG_SIGNATURE)
    while place < len(content):
        size = int.from_bytes(content[place : place + 4], "big")
        name = content[place + 4 : place + 8]
        end = place + 12 + size
        yield name, content[place + 8 : end - 4], content[place:end]
        place = end
