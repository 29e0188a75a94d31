"""Chunks of a PNG file that hold no pixels: those too large for Pillow are cut out, the colour
profile is kept.
"""

import io
import zlib
from collections.abc import Iterator

from PIL import Image

SIGNATURE = b"\x89PNG\r\n\x1a\n"
MAX_CHUNK = 2**20
"""Bytes that a text or a profile may unpack to; Pillow's own limit, above which it refuses the
image.
"""
MAX_TEXTS = 2**25
"""Bytes that all texts of a file may unpack to; half of Pillow's own limit."""
MAX_PROFILE = 2**24
"""Bytes of the largest colour profile that is kept for a conversion."""
WORDY = (b"tEXt", b"zTXt", b"iTXt")
PROFILE = b"iCCP"


def without_large_chunks(content: bytes) -> bytes:
    """A PNG file without the texts and the colour profile that unpack to more than Pillow takes.

    Nothing that has pixels is touched. What is not a PNG file, or has no such chunk, comes back as
    it is.
    """
    if not content.startswith(SIGNATURE) or not any(name in content for name in (*WORDY, PROFILE)):
        return content
    kept, total = [SIGNATURE], 0
    for name, data, chunk in _chunks(content):
        size = _unpacked_size(name, data)
        if size > MAX_CHUNK or total + size > MAX_TEXTS:
            continue
        total += size
        kept.append(chunk)
    return b"".join(kept)


def profile_of(content: bytes) -> bytes | None:
    """The colour profile of a PNG file, unpacked; None if there is none, or if it is above
    :data:`MAX_PROFILE`.
    """
    if content.startswith(SIGNATURE):
        for name, data, _ in _chunks(content):
            if name == PROFILE:
                profile = _unpacked(data.partition(b"\0")[2][1:], MAX_PROFILE)
                return profile if profile and len(profile) <= MAX_PROFILE else None
    return None


def opened(content: bytes, formats: tuple[str, ...]) -> Image.Image:
    """Open an image file with Pillow, reading its header; a PNG file's texts and profile may be of
    any size.

    Raises: what Pillow raises.
    """
    rest = without_large_chunks(content)
    image = Image.open(io.BytesIO(rest), formats=formats)
    if (
        len(rest) < len(content)
        and "icc_profile" not in image.info
        and (profile := profile_of(content))
    ):
        image.info["icc_profile"] = profile
    return image


def _unpacked_size(name: bytes, data: bytes) -> int:
    """Bytes that a text or a profile unpacks to, counted up to one above :data:`MAX_CHUNK`; 0 for
    other chunks.
    """
    if name in (PROFILE, b"zTXt"):
        return len(_unpacked(data.partition(b"\0")[2][1:], MAX_CHUNK))
    if name == b"iTXt":
        about = data.partition(b"\0")[2]
        text = about[2:].split(b"\0", 2)[-1]
        return len(_unpacked(text, MAX_CHUNK) if about[:1] == b"\1" else text)
    return len(data) if name in WORDY else 0


def _unpacked(data: bytes, most: int) -> bytes:
    """At most one byte more than ``most``; nothing if it is damaged."""
    try:
        return zlib.decompressobj().decompress(data, most + 1)
    except zlib.error:
        return b""


def _chunks(content: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Name, data and whole of each chunk; what is cut off at the end comes as it is."""
    place = len(SIGNATURE)
    while place < len(content):
        size, name = (
            int.from_bytes(content[place : place + 4], "big"),
            content[place + 4 : place + 8],
        )
        yield name, content[place + 8 : place + 8 + size], content[place : place + 12 + size]
        place += 12 + size
