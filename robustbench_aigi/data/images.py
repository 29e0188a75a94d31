"""Image files to pixels and back. What would change a pixel on the way is refused with the reason."""

import io

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

EXTENSIONS = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


class UnreadableImage(Exception):
    """The bytes are no image that this suite takes; the message is the reason."""


def decode(content: bytes) -> Tensor:
    """Decode an 8-bit RGB or grey image to uint8 ``(3, H, W)``. Raises ``UnreadableImage`` with the reason."""
    if not content:
        raise UnreadableImage("the file is empty")
    try:
        with Image.open(io.BytesIO(content)) as image:
            image.load()
            return _pixels(image)
    except UnidentifiedImageError as error:
        raise UnreadableImage("not an image, or a format that Pillow does not know") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableImage(f"damaged: {error}") from error


def encode_png(pixels: Tensor) -> bytes:
    """Encode uint8 ``(3, H, W)`` as PNG, losslessly."""
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(file, format="PNG", compress_level=1)
    return file.getvalue()


def _pixels(image: Image.Image) -> Tensor:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            raise UnreadableImage("has transparent pixels; flatten it onto a background first")
        image = rgba.convert("RGB")
    if image.mode in ("CMYK", "YCCK", "LAB"):
        raise UnreadableImage(f"{image.mode} colours; convert it to RGB with its colour profile first")
    if image.mode.startswith(("I", "F")):
        raise UnreadableImage(f"more than 8 bits a channel (mode {image.mode}); reduce it to 8 bits first")
    if image.mode == "1":
        raise UnreadableImage("1 bit a pixel; not a photograph")
    pixels = np.array(image.convert("RGB"), dtype=np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
