"""Image files to pixels and back. What would change a pixel on the way is refused with the reason."""

import io
import re
import struct
import warnings
import zlib

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")
"""What is taken, whatever the file is called. Pillow knows more, some of which start other programs."""
TAKEN = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
EXTENSIONS = frozenset(TAKEN | {".avif", ".heic", ".heif", ".jp2"})
"""Names that promise an image; one that is not taken is reported, other files are passed over."""
LEAST_SIDE = 8
MOST_PIXELS = 2**26
"""8192 x 8192. Larger images are refused from their header, before anything is decoded."""
MOST_BYTES = 2**28
ORIENTATION = 0x0112
DAMAGE = (OSError, EOFError, SyntaxError, ValueError, LookupError, ArithmeticError, TypeError, struct.error, zlib.error)


class UnreadableImage(Exception):
    """The bytes are no image that this suite takes; the message is the reason."""


def decode(content: bytes) -> Tensor:
    """Decode one 8-bit RGB, palette or grey image to uint8 ``(3, H, W)``, turned upright as its EXIF data say.

    Raises:
        UnreadableImage: with the reason. Sides are 8 pixels or more, and 8192 x 8192 pixels are the most.
    """
    if not content:
        raise UnreadableImage("the file is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of what it can mend, such as broken EXIF data
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                _check(image)
                image.load()
                return _pixels(image)
        except UnidentifiedImageError as error:
            raise UnreadableImage(f"not an image, or none of {', '.join(FORMATS)}") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise UnreadableImage(f"more than {MOST_PIXELS} pixels; reduce it first") from error
        except DAMAGE as error:
            raise UnreadableImage(f"damaged: {error}") from error


def encode_png(pixels: Tensor) -> bytes:
    """Encode uint8 ``(3, H, W)`` as PNG, losslessly."""
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def encode_jpeg(pixels: Tensor, **how: object) -> bytes:
    """Encode uint8 ``(3, H, W)`` as JPEG; ``how`` goes to Pillow, such as ``quality=75, subsampling="4:2:0"``."""
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, format="JPEG", **how)
    return file.getvalue()


def _check(image: Image.Image) -> None:
    """Refuse what the header alone tells."""
    width, height = image.size
    if width * height > MOST_PIXELS:
        raise UnreadableImage(f"{width} x {height}: more than {MOST_PIXELS} pixels; reduce it first")
    if min(width, height) < LEAST_SIDE:
        raise UnreadableImage(f"{width} x {height} pixels; {LEAST_SIDE} x {LEAST_SIDE} is the least")
    if image.format != "MPO" and getattr(image, "is_animated", False):  # MPO: a photograph and its preview
        raise UnreadableImage("animated, or several pictures in one file; save the wanted frame by itself")
    deep = any(re.search(r";(16|32)[BLNF]", str(tile)) for tile in getattr(image, "tile", ()))
    if deep or image.mode.startswith(("I", "F")):
        raise UnreadableImage(f"more than 8 bits a channel (mode {image.mode}); reduce it to 8 bits first")
    if image.mode in ("CMYK", "YCCK", "LAB"):
        raise UnreadableImage(f"{image.mode} colours; convert it to RGB with its colour profile first")
    if image.mode == "1":
        raise UnreadableImage("1 bit a pixel; not a photograph")


def _pixels(image: Image.Image) -> Tensor:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            raise UnreadableImage("has transparent pixels; flatten it onto a background first")
    upright = ImageOps.exif_transpose(image) if image.getexif().get(ORIENTATION, 1) != 1 else image
    pixels = np.array(upright.convert("RGB"), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
