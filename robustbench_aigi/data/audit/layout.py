"""What an image file is put together of, apart from pixels: every encoder leaves its own order of
pieces.
"""

from collections.abc import Iterator
from itertools import groupby

PNG, JPEG, WEBP = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"WEBP"
START_OF_SCAN = 0xDA


def layout(content: bytes) -> str:
    """Chunks of a PNG or WebP file, or markers of a JPEG file, in order, repeats once; ``unknown``
    for others.

    PNG names zlib's level too, 0 (fastest) to 3, as its header states it. Sources: ISO/IEC 15948,
    ITU-T T.81, RFC 9649.
    """
    if content.startswith(PNG):
        pieces = _png(content)
    elif content.startswith(JPEG):
        pieces = _jpeg(content)
    elif content[8:12] == WEBP:
        pieces = _webp(content)
    else:
        return "unknown"
    return " ".join(name for name, _ in groupby(pieces))


def _png(content: bytes) -> Iterator[str]:
    place, level = len(PNG), ""
    while place + 8 <= len(content):
        size, name = (
            int.from_bytes(content[place : place + 4], "big"),
            content[place + 4 : place + 8],
        )
        if name == b"IDAT" and not level and size >= 2:
            level = f"-level-{content[place + 9] >> 6}"
        yield name.decode("latin-1") + (level if name == b"IDAT" else "")
        place += size + 12


def _jpeg(content: bytes) -> Iterator[str]:
    place = len(JPEG)
    while (
        place + 4 <= len(content) and content[place] == 0xFF and content[place + 1] != START_OF_SCAN
    ):
        yield f"{content[place + 1]:02X}"
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")


def _webp(content: bytes) -> Iterator[str]:
    place = 12
    while place + 8 <= len(content):
        size = int.from_bytes(content[place + 4 : place + 8], "little")
        yield content[place : place + 4].decode("latin-1").strip()
        place += 8 + size + size % 2
