"""The image files of a built ``++`` set: their names, and how they are written."""

import re
from collections.abc import Sequence
from pathlib import Path

from PIL import JpegImagePlugin
from torch import Tensor

from robustbench_aigi.data.decoding import encode_jpeg, encode_png
from robustbench_aigi.data.image_formats import PILLOW_FORMATS
from robustbench_aigi.imaging.png import opened
from robustbench_aigi.io.files import describe_write_errors
from robustbench_aigi.io.hashing import digest

SUFFIX_BY_START = {
    b"\xff\xd8": ".jpg",
    b"\x89PNG": ".png",
    b"RIFF": ".webp",
    b"BM": ".bmp",
    b"GIF8": ".gif",
    b"II*\0": ".tif",
    b"MM\0*": ".tif",
}
"""First bytes of a file to the ending of its name."""
MAX_STEM = 120
"""Letters of an id that a file's name keeps."""


def file_path(split: str, attack: str, identity: str, label: int, content: bytes) -> Path:
    """Return where an image's file is, relative to the set.

    Args:
        split: of the image.
        attack: that made it.
        identity: id of its source.
        label: 1 is AI-generated.
        content: bytes of the file, for the ending.
    """
    starts = SUFFIX_BY_START.items()
    suffix = next((suffix for start, suffix in starts if content.startswith(start)), ".img")
    class_folder = "FAKE" if label else "REAL"
    return Path(split) / attack / class_folder / f"{_stem(identity)}{suffix}"


def write_files(out: Path, paths: Sequence[Path], contents: Sequence[bytes]) -> None:
    """Write image files, and the folders that they are in.

    Args:
        out: folder of the set.
        paths: relative to it, at least one.
        contents: bytes of each file.

    Raises:
        WriteError: the disk is full, or ``out`` cannot be written to.
    """
    with describe_write_errors(out / paths[0].parent.parent):
        for folder in {(out / path).parent for path in paths}:
            folder.mkdir(parents=True, exist_ok=True)
        for path, content in zip(paths, contents, strict=True):
            (out / path).write_bytes(content)


def encode_like(example: bytes, pixels: Tensor) -> bytes:
    """Encode pixels as PNG, or as JPEG with the tables of an example, so that formats are alike.

    Args:
        example: bytes of an image file.
        pixels: uint8 ``(3, H, W)``.
    """
    with opened(example, PILLOW_FORMATS) as image:
        if not isinstance(image, JpegImagePlugin.JpegImageFile):
            return encode_png(pixels)
        tables = image.quantization
        sampling = JpegImagePlugin.get_sampling(image)
    return encode_jpeg(pixels, qtables=tables, subsampling=max(0, sampling))


def _stem(identity: str) -> str:
    """Return a file's name for an id: distinct, on one line, and short enough for a disk."""
    plain = re.sub(r"[/\x00-\x1f\x7f]", "_", identity)
    is_distinct = "_" not in identity and plain == identity.replace("/", "_")
    if is_distinct and len(identity) <= MAX_STEM:
        return plain
    return f"{plain[-MAX_STEM:]}~{digest(identity)[:8]}"
