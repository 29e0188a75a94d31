"""What ``--convert`` does to an image that is not 8-bit RGB in sRGB: the rules and their code."""

import functools
import io
import re
import sys
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

CONVERSION_VERSION = 1
"""Version of :data:`CONVERSION_RULES`, recorded wherever a converted image is."""
CONVERSION_RULES = (
    "16-bit samples become 8-bit ones: v / 257, rounded to the nearest.",
    (
        "An embedded colour profile (RGB, grey or CMYK) is applied: perceptual intent, to sRGB, by"
        " Little CMS. An RGB profile that moves no colour of a grid by more than one level is sRGB,"
        " and the pixels stay as they are."
    ),
    (
        "CMYK without a profile becomes RGB by Pillow's formula, R = (255 - K) (255 - C) / 255:"
        " colours are approximate."
    ),
    "Transparency is composited on white, after the profile: round((c a + 255 (255 - a)) / 255).",
    (
        "Grey becomes RGB, and EXIF rotation is applied, as without --convert. Still left out are"
        " animations, 1-bit, LAB, 32-bit and floating-point images."
    ),
)
DEEP_SAMPLES = re.compile(r"(I|RGB|RGBA|LA);16([BLN]?)")
"""Pillow's names of 16-bit samples."""
SWAPPED_ORDERS = {"B": "L", "L": "B", "": "B", "N": "B" if sys.byteorder == "little" else "L"}
"""Byte order of a sample to the one that swaps its two bytes."""
PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""Pillow's modes to the colour spaces of the profiles that fit them."""
MODE_WORDS = {"RGB": "rgb", "L": "grey", "CMYK": "cmyk"}
ALPHA_MODES = ("RGBA", "LA", "PA", "RGBa")
Samples = npt.NDArray[np.uint16]


def is_deep(image: Image.Image) -> bool:
    """Return whether an image has 16-bit samples that the rules can reduce.

    Args:
        image: its header is read, its pixels are not loaded yet.
    """
    return any(DEEP_SAMPLES.fullmatch(_raw_mode(tile)) for tile in getattr(image, "tile", ()))


def has_alpha(image: Image.Image) -> bool:
    """Return whether an image may have transparent pixels.

    Args:
        image: its header is read.
    """
    return image.mode in ALPHA_MODES or "transparency" in image.info


def has_other_profile(image: Image.Image) -> bool:
    """Return whether an embedded profile declares other colours than sRGB.

    Args:
        image: its header is read.
    """
    profile = image.info.get("icc_profile")
    mode = {"L": "L", "LA": "L", "CMYK": "CMYK"}.get(image.mode, "RGB")
    return bool(profile) and _profile_transform(profile, mode) is not None


def to_rgb(image: Image.Image, again: Image.Image | None = None) -> tuple[Image.Image, list[str]]:
    """Turn an image into RGB by :data:`CONVERSION_RULES`; EXIF rotation is left to the caller.

    Args:
        image: loaded, unless it has 16-bit samples.
        again: the same file opened a second time, for 16-bit samples only.

    Returns:
        The RGB image and the steps in words; no steps if the rules leave the pixels as they are.
    """
    profile = image.info.get("icc_profile")
    steps = []
    if again is not None:
        image = _reduce_to_8_bits(image, again)
        steps.append("16 to 8 bits")
    colours, alpha = _split_alpha(image)
    converted = _apply_profile(colours, profile) if profile else None
    if converted is not None:
        steps.append(f"{MODE_WORDS[colours.mode]} to srgb by profile")
        colours = converted
    elif colours.mode == "CMYK":
        steps.append("cmyk to rgb without a profile")
    colours = colours.convert("RGB")
    if alpha is not None:
        steps.append("transparency on white")
        colours = _on_white(colours, alpha)
    return colours, steps


def _reduce_to_8_bits(image: Image.Image, again: Image.Image) -> Image.Image:
    """Reduce 16-bit samples to 8 bits, rounding v / 257 to the nearest."""
    key = image.info.get("transparency")
    deep = _all_16_bits(image, again)
    high = (deep >> 8).astype(np.int16)
    low = (deep & 255).astype(np.int16)
    # round(v / 257) for v = 256 high + low
    levels = (high + (low - high > 128) - (high - low > 128)).astype(np.uint8)
    if key is not None and levels.shape[2] in (1, 3):
        opaque = (deep != np.asarray(key, dtype=deep.dtype)).any(axis=2, keepdims=True)
        levels = np.concatenate([levels, np.where(opaque, 255, 0).astype(np.uint8)], axis=2)
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def _all_16_bits(image: Image.Image, again: Image.Image) -> Samples:
    """Return all bits of every sample, ``(H, W, C)`` of 1 to 4 channels.

    Of colour images Pillow keeps the high byte of each sample, so the low one is read by itself.
    """
    raw = _raw_mode(image.tile[0])  # type: ignore[attr-defined]
    if image.mode.startswith("I;16"):
        image.load()
        return np.asarray(image).astype(np.uint16)[..., None]
    if raw.startswith("LA"):
        # Read as RGBA, the two bytes of each sample lie side by side.
        sides = np.asarray(_load_as(again, "RGBA")).astype(np.uint16)
        return _join_bytes(sides[..., 0::2], sides[..., 1::2])
    found = DEEP_SAMPLES.fullmatch(raw)
    order = SWAPPED_ORDERS[found[2] if found else ""]
    image.load()
    high = np.asarray(image).astype(np.uint16)
    low = np.asarray(_load_as(again, f"{raw.partition(';')[0]};16{order}")).astype(np.uint16)
    return _join_bytes(high, low)


def _join_bytes(high: Samples, low: Samples) -> Samples:
    return np.asarray(high * 256 + low, dtype=np.uint16)


def _load_as(image: Image.Image, raw: str) -> Image.Image:
    """Load an image with its samples read as if they were others of the same size."""
    tiles = image.tile  # type: ignore[attr-defined]
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))
        for tile in tiles
    ]
    image.load()
    return image


def _raw_mode(tile: object) -> str:
    """Return Pillow's name of how samples are stored in a file; empty if there is none."""
    args = tile[3] if isinstance(tile, tuple) else ""
    if isinstance(args, tuple):
        return str(args[0]) if args else ""
    return args if isinstance(args, str) else ""


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Return the colours, in a mode of :data:`PROFILE_SPACES`, and alpha; None if all is opaque."""
    if has_alpha(image):
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        colours = image.getchannel("L") if image.mode == "LA" else rgba.convert("RGB")
        is_opaque = alpha.getextrema() == (255, 255)
        return colours, None if is_opaque else alpha
    colours = image if image.mode in PROFILE_SPACES else image.convert("RGB")
    return colours, None


def _on_white(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    share = np.asarray(alpha).astype(np.uint32)[..., None]
    mixed = np.asarray(colours).astype(np.uint32) * share + 255 * (255 - share)
    return Image.fromarray(((mixed + 127) // 255).astype(np.uint8))


def _apply_profile(colours: Image.Image, profile: bytes) -> Image.Image | None:
    """Return the colours in sRGB; None if the profile does not apply."""
    transform = _profile_transform(profile, colours.mode)
    if transform is None:
        return None
    return cast("Image.Image", ImageCms.applyTransform(colours, transform))


@functools.lru_cache(maxsize=8)
def _profile_transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Return a transform to sRGB; None for a profile that is broken, of other colours, or sRGB."""
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if own.profile.xcolor_space.strip() != PROFILE_SPACES[mode]:
            return None
        transform = ImageCms.buildTransform(
            own, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.PERCEPTUAL
        )
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None
    if mode != "CMYK" and _changes_nothing(transform, mode):
        return None
    return transform


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    given = Image.fromarray(grid if mode == "RGB" else grid[..., 0])
    made = np.asarray(ImageCms.applyTransform(given, transform)).astype(int)
    return int(np.abs(made - np.asarray(given.convert("RGB"))).max()) <= 1
