"""Image files to pixels and back; what is not decoded exactly is rejected with a reason."""

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from robustbench_aigi.data.conversion import (
    CONVERSION_VERSION,
    has_alpha,
    has_other_profile,
    is_deep,
    to_rgb,
)
from robustbench_aigi.data.header_faults import CONVERT_HINT, MAX_PIXELS, header_fault
from robustbench_aigi.data.image_formats import PILLOW_FORMATS
from robustbench_aigi.imaging.png import opened

Rows = NDArray[np.uint8]
"""Pixels ``(H, W, 3)``."""
MAX_BYTES = 2**28
"""Bytes of an image file."""
EXIF_ORIENTATION = 0x0112
UPRIGHT_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation."""
DAMAGE_ERRORS = (
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
"""What Pillow raises for damaged files."""


class ImageError(Exception):
    """The bytes are no image that can be read; the message is the reason."""


class Decoded(NamedTuple):
    """A decoded image.

    Attributes:
        rows: uint8 ``(H, W, 3)``, not to be written to.
        conversion: what was done to the pixels; empty if nothing.
    """

    rows: Rows
    conversion: str

    @property
    def pixels(self) -> UInt8[Tensor, "3 h w"]:
        """A copy of the pixels, uint8 ``(3, H, W)``."""
        return torch.from_numpy(np.ascontiguousarray(self.rows.transpose(2, 0, 1)))


class Header(NamedTuple):
    """What is known of an image before it is decoded.

    Attributes:
        format: Pillow's name, such as JPEG.
        mode: Pillow's name of the colours, such as RGB.
        width: in pixels.
        height: in pixels.
        profile: whether an embedded colour profile is not sRGB.
        alpha: whether pixels may be transparent.
        fault: why the image is left out; None if the header shows no reason.
    """

    format: str
    mode: str
    width: int
    height: int
    profile: bool
    alpha: bool
    fault: str | None


def decode(content: bytes, *, convert: bool = False) -> UInt8[Tensor, "3 h w"]:
    """Decode an 8-bit RGB, palette or grey image to uint8 ``(3, H, W)``, upright by its EXIF data.

    Args:
        content: bytes of the image file.
        convert: take CMYK, 16-bit and transparent images and colour profiles too, by
            :data:`~robustbench_aigi.data.conversion.CONVERSION_RULES`.

    Raises:
        ImageError: with the reason; very small and very large images are left out too, see
            :mod:`~robustbench_aigi.data.header_faults`.
    """
    return decode_image(content, convert=convert).pixels


def decode_image(content: bytes, *, convert: bool = False) -> Decoded:
    """Decode an image file, and name the conversion that its pixels went through.

    Args:
        content: bytes of the image file.
        convert: as in :func:`decode`.

    Raises:
        ImageError: as in :func:`decode`.
    """
    with _open_image(content) as image:
        fault = header_fault(image, convert)
        if fault is not None:
            raise ImageError(fault)
        if convert:
            return _converted(image, content)
        image.load()
        return Decoded(_plain_pixels(image), "")


def read_header(content: bytes, *, convert: bool = False) -> Header:
    """Read the header of an image file.

    Args:
        content: bytes of the image file.
        convert: as in :func:`decode`; it decides what is a ``fault``.

    Raises:
        ImageError: the bytes are no image.
    """
    with _open_image(content) as image:
        width, height = image.size
        return Header(
            image.format or "unknown",
            image.mode,
            width,
            height,
            has_other_profile(image),
            has_alpha(image),
            header_fault(image, convert),
        )


def encode_png(pixels: UInt8[Tensor, "3 h w"]) -> bytes:
    """Encode pixels as PNG, losslessly.

    Args:
        pixels: uint8 ``(3, H, W)``.
    """
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(
        file, format="PNG", compress_level=1
    )
    return file.getvalue()


def encode_pngs(images: UInt8[Tensor, "n 3 h w"]) -> list[bytes]:
    """Encode each image of a batch as PNG, losslessly.

    Args:
        images: uint8 ``(N, 3, H, W)``.
    """
    return [encode_png(pixels) for pixels in images]


def encode_jpeg(pixels: UInt8[Tensor, "3 h w"], **options: object) -> bytes:
    """Encode pixels as JPEG.

    Args:
        pixels: uint8 ``(3, H, W)``.
        options: Pillow's, such as ``quality=75, subsampling="4:2:0"``.
    """
    file = io.BytesIO()
    image = Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
    image.save(file, format="JPEG", **options)
    return file.getvalue()


@contextmanager
def _open_image(content: bytes) -> Iterator[Image.Image]:
    """Open an image and read its header; Pillow's exceptions become ``ImageError``."""
    if not content:
        raise ImageError("the file is empty")
    with warnings.catch_warnings():
        # Pillow warns of what it can repair, such as broken EXIF data.
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with opened(content, PILLOW_FORMATS) as image:
                yield image
        except UnidentifiedImageError as error:
            raise ImageError(f"not an image, or none of {', '.join(PILLOW_FORMATS)}") from error
        except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
            raise ImageError(f"more than {MAX_PIXELS} pixels; reduce it first") from error
        except DAMAGE_ERRORS as error:
            raise ImageError(f"damaged: {error}") from error


def _converted(image: Image.Image, content: bytes) -> Decoded:
    """Decode by the conversion rules; a 16-bit image is opened a second time for its low bytes."""
    if is_deep(image):
        with opened(content, PILLOW_FORMATS) as again:
            rgb, steps = to_rgb(image, again)
    else:
        image.load()
        rgb, steps = to_rgb(image)
    turn = UPRIGHT_TURNS.get(image.getexif().get(EXIF_ORIENTATION, 1))
    upright = rgb if turn is None else rgb.transpose(turn)
    conversion = f"{', '.join(steps)} (rules {CONVERSION_VERSION})" if steps else ""
    return Decoded(_rgb_rows(upright), conversion)


def _plain_pixels(image: Image.Image) -> Rows:
    if has_alpha(image):
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            raise ImageError(
                f"has transparent pixels; flatten it onto a background first{CONVERT_HINT}"
            )
    is_turned = image.getexif().get(EXIF_ORIENTATION, 1) != 1
    upright = ImageOps.exif_transpose(image) if is_turned else image
    return _rgb_rows(upright if upright.mode == "RGB" else upright.convert("RGB"))


def _rgb_rows(image: Image.Image) -> Rows:
    """Return the pixels of an RGB image, not to be written to: Pillow's own memory where it is one
    piece.
    """
    try:
        values = pa.array(image).flatten().to_numpy(zero_copy_only=True)
    except ValueError:  # a large image lies in several pieces
        return np.asarray(image)
    rows: Rows = values.reshape(image.height, image.width, -1)[:, :, :3]
    return rows
