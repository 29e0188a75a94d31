"""Why an image is left out, as far as its header shows."""

import re

from PIL import Image

from robustbench_aigi.data.conversion import is_deep

MIN_SIDE = 8
"""Pixels of the shorter side."""
MAX_PIXELS = 2**26
"""8192 x 8192. Larger images are left out by their header, before anything is decoded."""
CONVERT_HINT = ", or give --convert"


def header_fault(image: Image.Image, convert: bool) -> str | None:
    """Return why the header alone excludes an image; None if it does not.

    Args:
        image: its header is read.
        convert: whether the conversion rules apply.
    """
    width, height = image.size
    if width * height > MAX_PIXELS:
        return f"{width} x {height}: more than {MAX_PIXELS} pixels; reduce it first"
    if min(width, height) < MIN_SIDE:
        return f"{width} x {height} pixels; {MIN_SIDE} x {MIN_SIDE} is the least"
    # An MPO file is a photograph and its preview.
    if image.format != "MPO" and getattr(image, "is_animated", False):
        return "animated, or several pictures in one file; save the wanted frame by itself"
    return _depth_fault(image, convert) or _colour_fault(image, convert)


def _depth_fault(image: Image.Image, convert: bool) -> str | None:
    tiles = getattr(image, "tile", ())
    is_over_8_bits = any(re.search(r";(16|32)[BLNF]", str(tile)) for tile in tiles)
    if not (is_over_8_bits or image.mode.startswith(("I", "F"))):
        return None
    if not is_deep(image):
        return f"more than 8 bits per channel (mode {image.mode}); reduce it to 8 bits first"
    if convert:
        return None
    return (
        f"more than 8 bits per channel (mode {image.mode}); reduce it to 8 bits first{CONVERT_HINT}"
    )


def _colour_fault(image: Image.Image, convert: bool) -> str | None:
    if image.mode == "1":
        return "1 bit per pixel; not a photograph"
    advice = f"{image.mode} colours; convert it to RGB with its colour profile first"
    if image.mode in ("YCCK", "LAB"):
        return advice
    if image.mode == "CMYK" and not convert:
        return f"{advice}{CONVERT_HINT}"
    return None
