"""Image files to pixels and back. What would change a pixel on the way is refused with the reason,
or is asked for.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from robustbench_aigi.data.conversion import CONVERT_RULES, has_alpha, is_deep, is_wide, to_rgb
from robustbench_aigi.imaging.png import PNG_SIGNATURE, opened

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is taken, whatever the file is called. Pillow knows more, some of which start other
programs.
"""
TAKEN = {
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".pjpeg",
    ".pjp",
    ".png",
    ".apng",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
}
RAW_CAMERA = frozenset({".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf"})
"""Raw camera files, in which Pillow would find a preview."""
OTHERS = {".avif", ".heic", ".heif", ".jp2", ".jxl", ".ppm", ".pgm", ".psd", ".tga"}
EXTENSIONS = frozenset(TAKEN | OTHERS | RAW_CAMERA)
"""Names that promise an image; one that is not taken is reported. Other files are looked into, see
:data:`PROSE`.
"""
PROSE = frozenset(
    f".{ending}"
    for ending in (
        *(
            "txt",
            "csv",
            "tsv",
            "json",
            "jsonl",
            "md",
            "rst",
            "html",
            "htm",
            "xml",
            "yaml",
            "yml",
            "toml",
            "ini",
            "log",
        ),
        *(
            "py",
            "ipynb",
            "sh",
            "db",
            "npy",
            "npz",
            "pt",
            "pth",
            "pkl",
            "safetensors",
            "onnx",
            "h5",
            "hdf5",
            "parquet",
        ),
        *(
            "arrow",
            "feather",
            "zip",
            "gz",
            "tgz",
            "bz2",
            "xz",
            "7z",
            "rar",
            "tar",
            "pdf",
            "xls",
            "xlsx",
            "svg",
            "cls",
        ),
        *("mp4", "mov", "avi", "mkv", "webm", "mp3", "wav", "lock", "tmp"),
    )
)
"""Endings of files that are no images and that are not looked into."""
MAGIC = (b"\xff\xd8\xff", PNG_SIGNATURE, b"GIF87a", b"GIF89a")
TIFF = (b"II*\0", b"MM\0*")
SNIFFED_BYTES = 16
LEAST_SIDE = 8
MOST_PIXELS = 2**26
"""8192 x 8192. Larger images are refused from their header, before anything is decoded."""
MOST_BYTES = 2**28
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""
HINT = "or give --convert"
DAMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    LookupError,
    ArithmeticError,
    TypeError,
    struct.error,
    zlib.error,
)


class ImageError(Exception):
    """The bytes are no image that this suite takes; the message is the reason."""


class Decoded(NamedTuple):
    """Pixels, uint8 ``(3, H, W)``, and which conversion they went through: empty if none."""

    pixels: Tensor
    conversion: str


class Header(NamedTuple):
    """What is known of an image before it is decoded.

    ``profile`` says whether an embedded colour profile is of other colours than sRGB, ``alpha``
    whether pixels may be transparent, ``fault`` why the image is left out, empty if nothing is seen
    that says so.
    """

    format: str
    mode: str
    width: int
    height: int
    profile: bool
    alpha: bool
    fault: str


def looks_like_image(start: bytes) -> bool:
    """Whether a file that begins with these bytes is in one of :data:`FORMATS`; not TIFF, as raw
    camera files do.
    """
    bitmap = start[:2] == b"BM" and start[6:10] == b"\0\0\0\0"
    return start.startswith(MAGIC) or bitmap or (start[:4] == b"RIFF" and start[8:12] == b"WEBP")


def decode(content: bytes, *, convert: bool = False) -> Tensor:
    """Decode one 8-bit RGB, palette or grey image to uint8 ``(3, H, W)``, turned upright as its
    EXIF data say.

    Args:
        convert: take CMYK, 16-bit and transparent images and colour profiles too, by the rules of
            :data:`~robustbench_aigi.data.conversion.RULES`.

    Raises:
        UnreadableImage: with the reason. Sides are 8 pixels or more, and 8192 x 8192 pixels are the
            most.
    """
    return decoded(content, convert=convert).pixels


def decoded(content: bytes, *, convert: bool = False) -> Decoded:
    """As :func:`decode`, with what was converted."""
    with _opened(content) as image:
        if fault := _fault(image, convert):
            raise ImageError(fault)
        if not convert:
            image.load()
            return Decoded(_pixels(image), "")
        if is_deep(image):
            with opened(content, FORMATS) as again:
                rgb, done = to_rgb(image, again)
        else:
            image.load()
            rgb, done = to_rgb(image, None)
        turn = TURNS.get(image.getexif().get(ORIENTATION, 1))
        upright = rgb if turn is None else rgb.transpose(turn)
        return Decoded(
            _tensor(upright), f"{', '.join(done)} (rules {CONVERT_RULES})" if done else ""
        )


def header(content: bytes, *, convert: bool = False) -> Header:
    """What the beginning of an image file says. Raises ``ImageError`` if it is none."""
    with _opened(content) as image:
        width, height = image.size
        about = image.format or "unknown", image.mode, width, height
        return Header(*about, is_wide(image), has_alpha(image), _fault(image, convert))


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """An image whose header is read; whatever Pillow says against the file becomes
    ``ImageError``.
    """
    if not content:
        raise ImageError("the file is empty")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # Pillow warns of what it can mend, such as broken EXIF data
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with opened(content, FORMATS) as image:
                yield image
        except UnidentifiedImageError as error:
            raise ImageError(f"not an image, or none of {', '.join(FORMATS)}") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ImageError(f"more than {MOST_PIXELS} pixels; reduce it first") from error
        except DAMAGE as error:
            raise ImageError(f"damaged: {error}") from error


def encode_png(pixels: Tensor) -> bytes:
    """Encode uint8 ``(3, H, W)`` as PNG, losslessly."""
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(
        file, format="PNG", compress_level=1
    )
    return file.getvalue()


def encode_jpeg(pixels: Tensor, **how: object) -> bytes:
    """Encode uint8 ``(3, H, W)`` as JPEG; ``how`` goes to Pillow, such as ``quality=75,
    subsampling="4:2:0"``.
    """
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, format="JPEG", **how)
    return file.getvalue()


def _fault(image: Image.Image, convert: bool) -> str:
    """What the header alone says against an image; empty if nothing."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        return f"{width} x {height}: more than {MOST_PIXELS} pixels; reduce it first"
    if min(width, height) < LEAST_SIDE:
        return f"{width} x {height} pixels; {LEAST_SIDE} x {LEAST_SIDE} is the least"
    if image.format != "MPO" and getattr(
        image, "is_animated", False
    ):  # MPO: a photograph and its preview
        return "animated, or several pictures in one file; save the wanted frame by itself"
    deep = any(re.search(r";(16|32)[BLNF]", str(tile)) for tile in getattr(image, "tile", ()))
    if (deep or image.mode.startswith(("I", "F"))) and not (convert and is_deep(image)):
        hint = f", {HINT}" if is_deep(image) else ""
        return f"more than 8 bits a channel (mode {image.mode}); reduce it to 8 bits first{hint}"
    if image.mode in ("CMYK", "YCCK", "LAB") and not (convert and image.mode == "CMYK"):
        hint = f", {HINT}" if image.mode == "CMYK" else ""
        return f"{image.mode} colours; convert it to RGB with its colour profile first{hint}"
    return "1 bit a pixel; not a photograph" if image.mode == "1" else ""


def _pixels(image: Image.Image) -> Tensor:
    if has_alpha(image):
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            raise ImageError(f"has transparent pixels; flatten it onto a background first, {HINT}")
    upright = ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image
    return _tensor(upright.convert("RGB"))


def _tensor(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image, dtype=np.uint8)).permute(2, 0, 1).contiguous()
