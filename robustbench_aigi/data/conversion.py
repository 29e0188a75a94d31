"""What ``--convert`` does to an image that is not 8-bit RGB in sRGB: the rules, and the code that
is them.
"""

import functools
import io
import re
import sys
from typing import cast

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

CONVERT_RULES = 1
"""Version of :data:`RULES`; it is recorded wherever a converted image is."""
RULES = (
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
DEEP = re.compile(r"(I|RGB|RGBA|LA);16([BLN]?)")
"""How Pillow names samples of 16 bits."""
SWAPPED = {"B": "L", "L": "B", "": "B", "N": "B" if sys.byteorder == "little" else "L"}
SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}
"""Pillow's modes and the colour spaces of the profiles that fit them."""
WORDS = {"RGB": "rgb", "L": "grey", "CMYK": "cmyk"}
Deep = npt.NDArray[np.uint16]


def is_deep(image: Image.Image) -> bool:
    """Whether an image, its header read, has samples of 16 bits that the rules take."""
    return any(DEEP.fullmatch(_raw(tile)) for tile in getattr(image, "tile", ()))


def to_rgb(image: Image.Image, again: Image.Image | None) -> tuple[Image.Image, list[str]]:
    """Turn an image into RGB by :data:`RULES`; EXIF rotation is left to the caller.

    Args:
        image: loaded, unless it has 16 bits. again: the same, opened a second time, if it has 16
            bits.

    Returns:
        The RGB image, and what was done in words; nothing where the pixels are what they are
        without the rules.
    """
    profile = image.info.get("icc_profile")
    done = []
    if again is not None:
        image = _shallow(image, again)
        done.append("16 to 8 bits")
    colours, alpha = _apart(image)
    converted = _by_profile(colours, profile) if profile else None
    if converted is not None:
        done.append(f"{WORDS[colours.mode]} to srgb by profile")
        colours = converted
    elif colours.mode == "CMYK":
        done.append("cmyk to rgb without a profile")
    colours = colours.convert("RGB")
    if alpha is not None:
        done.append("transparency on white")
        colours = _on_white(colours, alpha)
    return colours, done


def _shallow(image: Image.Image, again: Image.Image) -> Image.Image:
    """16 bits to 8. Of colour images Pillow keeps the upper byte of each sample, so the lower one
    is read by itself.
    """
    key = image.info.get("transparency")
    deep = _samples(image, again)
    high, low = (deep >> 8).astype(np.int16), (deep & 255).astype(np.int16)
    levels = (high + (low - high > 128) - (high - low > 128)).astype(
        np.uint8
    )  # round(v / 257), v = 256 high + low
    if key is not None and levels.shape[2] in (1, 3):
        opaque = (deep != np.asarray(key, dtype=deep.dtype)).any(axis=2, keepdims=True)
        levels = np.concatenate([levels, np.where(opaque, 255, 0).astype(np.uint8)], axis=2)
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def _samples(image: Image.Image, again: Image.Image) -> Deep:
    """All 16 bits of every sample, ``(H, W, C)`` of 1 to 4 channels."""
    raw = _raw(image.tile[0])  # type: ignore[attr-defined]
    if image.mode.startswith("I;16"):
        image.load()
        return np.asarray(image).astype(np.uint16)[..., None]
    if raw.startswith("LA"):
        grey = np.asarray(_loaded_as(again, "RGBA")).astype(
            np.uint16
        )  # each sample's two bytes, side by side
        return _joined(grey[..., 0::2], grey[..., 1::2])
    found = DEEP.fullmatch(raw)
    other = f"{raw.partition(';')[0]};16{SWAPPED[found[2] if found else '']}"
    image.load()
    high, low = (np.asarray(one).astype(np.uint16) for one in (image, _loaded_as(again, other)))
    return _joined(high, low)


def _joined(high: Deep, low: Deep) -> Deep:
    return np.asarray(high * 256 + low, dtype=np.uint16)


def _loaded_as(image: Image.Image, raw: str) -> Image.Image:
    """The image, its file's samples read as if they were others of the same size."""
    tiles = image.tile  # type: ignore[attr-defined]
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))
        for tile in tiles
    ]
    image.load()
    return image


def _raw(tile: object) -> str:
    """Pillow's name of how samples are stored in a file."""
    args = tile[3] if isinstance(tile, tuple) else ""
    return str(
        args if isinstance(args, str) else args[0] if isinstance(args, tuple) and args else ""
    )


def _apart(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """Colours in one of the modes of :data:`SPACES`, and the alpha channel unless it is opaque
    throughout.
    """
    if has_alpha(image):
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        colours = image.getchannel("L") if image.mode == "LA" else rgba.convert("RGB")
        return colours, None if alpha.getextrema() == (255, 255) else alpha
    return (image if image.mode in SPACES else image.convert("RGB")), None


def has_alpha(image: Image.Image) -> bool:
    """Whether an image may have transparent pixels."""
    return image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info


def _on_white(colours: Image.Image, alpha: Image.Image) -> Image.Image:
    share = np.asarray(alpha).astype(np.uint32)[..., None]
    mixed = np.asarray(colours).astype(np.uint32) * share + 255 * (255 - share)
    return Image.fromarray(((mixed + 127) // 255).astype(np.uint8))


def _by_profile(colours: Image.Image, profile: bytes) -> Image.Image | None:
    """Colours in sRGB; None where the profile is broken, of another colour space, or is sRGB
    itself.
    """
    transform = _transform(profile, colours.mode)
    return (
        None
        if transform is None
        else cast("Image.Image", ImageCms.applyTransform(colours, transform))
    )


def is_wide(image: Image.Image) -> bool:
    """Whether an embedded profile says that an RGB or grey image is in other colours than sRGB."""
    profile = image.info.get("icc_profile")
    mode = "L" if image.mode in ("L", "LA") else "CMYK" if image.mode == "CMYK" else "RGB"
    return bool(profile) and _transform(profile, mode) is not None


@functools.lru_cache(maxsize=8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    try:
        own = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if own.profile.xcolor_space.strip() != SPACES[mode]:
            return None
        made = ImageCms.buildTransform(
            own, ImageCms.createProfile("sRGB"), mode, "RGB", ImageCms.Intent.PERCEPTUAL
        )
    except (OSError, ValueError, TypeError, ImageCms.PyCMSError):
        return None  # a broken profile says nothing
    return None if mode != "CMYK" and _changes_nothing(made, mode) else made


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(27, 27, 3)
    given = Image.fromarray(grid if mode == "RGB" else grid[..., 0])
    made = np.asarray(ImageCms.applyTransform(given, transform)).astype(int)
    return int(np.abs(made - np.asarray(given.convert("RGB"))).max()) <= 1
