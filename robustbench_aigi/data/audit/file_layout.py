"""The order of the pieces of an image file, apart from pixels: every encoder has its own."""

from collections.abc import Iterator
from itertools import groupby

PNG_START = b"\x89PNG\r\n\x1a\n"
JPEG_START = b"\xff\xd8"
WEBP_MARK = b"WEBP"
START_OF_SCAN = 0xDA


def file_layout(content: bytes) -> str:
    """Return the chunks of a PNG or WebP file, or the markers of a JPEG file, in order.

    Repeats are named once; for PNG zlib's level, 0 (fastest) to 3, is part of IDAT's name.

    Args:
        content: bytes of the file.

    Returns:
        Names separated by spaces; ``unknown`` for another format.

    Source: ISO/IEC 15948, ITU-T T.81, RFC 9649.

    Example:
        >>> file_layout(b"GIF89a...")
        'unknown'
    """
    if content.startswith(PNG_START):
        pieces = _png_chunks(content)
    elif content.startswith(JPEG_START):
        pieces = _jpeg_markers(content)
    elif content[8:12] == WEBP_MARK:
        pieces = _webp_chunks(content)
    else:
        return "unknown"
    return " ".join(name for name, _ in groupby(pieces))


def _png_chunks(content: bytes) -> Iterator[str]:
    position = len(PNG_START)
    level = ""
    while position + 8 <= len(content):
        size = int.from_bytes(content[position : position + 4], "big")
        name = content[position + 4 : position + 8]
        is_data = name == b"IDAT"
        if is_data and not level and size >= 2:
            level = f"-level-{content[position + 9] >> 6}"
        yield name.decode("latin-1") + (level if is_data else "")
        position += size + 12


def _jpeg_markers(content: bytes) -> Iterator[str]:
    position = len(JPEG_START)
    while position + 4 <= len(content) and content[position] == 0xFF:
        marker = content[position + 1]
        if marker == START_OF_SCAN:
            return
        yield f"{marker:02X}"
        position += 2 + int.from_bytes(content[position + 2 : position + 4], "big")


def _webp_chunks(content: bytes) -> Iterator[str]:
    position = 12
    while position + 8 <= len(content):
        size = int.from_bytes(content[position + 4 : position + 8], "little")
        yield content[position : position + 4].decode("latin-1").strip()
        position += 8 + size + size % 2
