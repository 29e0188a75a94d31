"""Statistics of an image file that a classifier could cheat by: storage, and sums over pixels."""

import hashlib
import io
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from scipy.fft import dctn

from robustbench_aigi.data.audit.file_layout import file_layout
from robustbench_aigi.data.decoding import decode
from robustbench_aigi.data.image_formats import PILLOW_FORMATS
from robustbench_aigi.imaging.dct import dct_matrix
from robustbench_aigi.imaging.png import opened

Floats = npt.NDArray[np.floating]
Pixels = npt.NDArray[np.uint8]
Statistics = dict[str, str | float | int]

STORAGE_CATEGORIES = (
    "format",
    "mode",
    "dimensions",
    "tables",
    "subsampling",
    "layout",
    "fields",
)
"""How a file is stored. ``fields`` are all that it carries beside pixels: EXIF, ICC, XMP, PNG text,
resolution.
"""
FILE_NUMBERS = ("width", "height", "quality")
CONTENT_NUMBERS = ("bytes",)
"""Of files stored alike, the size depends on what is in the pixels."""
PIXEL_NUMBERS = ("brightness", "contrast", "saturation", "noise", "high_band", "blocks")
CHROMA_SAMPLINGS = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
MIDDLE_SIDE = 1024
"""Pixels per side, in the middle of the image, that are summed up: it bounds the memory."""
HASH_SIDE = 32
"""Pixels per side of the reduced image that the perceptual hash is taken of."""
JPEG_BLOCK = 8
"""Pixels per side of a block of JPEG's grid."""
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def image_statistics(content: bytes, *, convert: bool = False) -> Statistics:
    """Return all statistics of one image file.

    Numbers are in grey levels of 255, except ``saturation`` (0 to 1), ``high_band`` (log10 of the
    share of energy in the upper half of the DCT frequencies), ``blocks`` (steps at 8-pixel borders
    over steps elsewhere; 1 without a JPEG grid) and ``quality`` (1 to 100; NaN for other formats).

    Args:
        content: bytes of the file.
        convert: as when it is read.

    Returns:
        The statistics, and two hashes of 64 bits: ``exact`` of the pixels, ``perceptual`` of what
        is seen of them.

    Raises:
        ImageError: the image cannot be read; the message is the reason.
    """
    pixels = decode(content, convert=convert).permute(1, 2, 0).numpy()
    hashes: Statistics = {"exact": exact_hash(pixels), "perceptual": perceptual_hash(pixels)}
    return storage_statistics(content) | pixel_statistics(pixels) | hashes


def storage_statistics(content: bytes) -> Statistics:
    """Return how a file holds its pixels: the categories, file and content numbers.

    Args:
        content: bytes of the file.
    """
    with opened(content, PILLOW_FORMATS) as image:
        image.load()
        found: Statistics = {
            "format": image.format or "unknown",
            "mode": image.mode,
            "dimensions": f"{image.width} x {image.height}",
            "tables": "none",
            "subsampling": "none",
            "layout": file_layout(content),
            "fields": ", ".join(sorted(str(key) for key in image.info)) or "none",
            "bytes": len(content),
            "width": image.width,
            "height": image.height,
            "quality": float("nan"),
        }
        if isinstance(image, JpegImageFile):
            tables = image.quantization
            text = repr(sorted(tables.items()))
            found["tables"] = hashlib.sha256(text.encode()).hexdigest()[:8]
            found["subsampling"] = CHROMA_SAMPLINGS.get(get_sampling(image), "other")
            found["quality"] = jpeg_quality(tables[min(tables)])
    return found


def jpeg_quality(table: list[int]) -> float:
    """Return the quality, 1 to 100, whose libjpeg luminance table is nearest to ``table``.

    Args:
        table: 64 quantisation steps.
    """
    return 1.0 + float(np.abs(_libjpeg_tables() - np.asarray(table)).sum(axis=1).argmin())


def pixel_statistics(pixels: Pixels) -> Statistics:
    """Return :data:`PIXEL_NUMBERS`; NaN where the image is too small for one.

    Args:
        pixels: uint8 ``(H, W, 3)``.
    """
    middle = _middle(pixels).astype(np.float32)
    luma = middle @ LUMA_WEIGHTS
    high = middle.max(axis=2)
    low = middle.min(axis=2)
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "saturation": float(((high - low) / np.maximum(high, 1)).mean()),
        "noise": _noise(luma),
        "high_band": _high_band(luma),
        "blocks": _blocks(luma),
    }


def exact_hash(pixels: Pixels) -> int:
    """Return 64 bits of a hash of shape and pixels, whatever the format of the file.

    Args:
        pixels: uint8 ``(H, W, 3)``.
    """
    hashed = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    hashed.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(hashed.digest(), "big")


def perceptual_hash(pixels: Pixels) -> int:
    """Return 64 bits: which of the 8 x 8 lowest DCT frequencies are above their median.

    Args:
        pixels: uint8 ``(H, W, 3)``.

    Source: Zauner, thesis, 2010.
    """
    size = (HASH_SIDE, HASH_SIDE)
    grey = Image.fromarray(pixels).convert("L").resize(size, Image.Resampling.LANCZOS)
    low = _low_frequencies() @ np.asarray(grey, dtype=np.float64) @ _low_frequencies().T
    bits = low.ravel() > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@cache
def _libjpeg_tables() -> npt.NDArray[np.int64]:
    """Return libjpeg's luminance tables of the qualities 1 to 100, ``(100, 64)``."""
    tables = []
    for level in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, format="JPEG", quality=level)
        with Image.open(file) as image:
            if isinstance(image, JpegImageFile):
                tables.append(image.quantization[0])
    return np.asarray(tables, dtype=np.int64)


@cache
def _low_frequencies() -> Floats:
    return np.asarray(dct_matrix(HASH_SIDE)[:8].numpy())


def _middle(pixels: Pixels) -> Pixels:
    """Return the middle, from a multiple of 8 on, so that a JPEG grid stays in its place."""
    top, left = (
        max(side - MIDDLE_SIDE, 0) // (2 * JPEG_BLOCK) * JPEG_BLOCK for side in pixels.shape[:2]
    )
    return pixels[top : top + MIDDLE_SIDE, left : left + MIDDLE_SIDE]


def _noise(luma: Floats) -> float:
    """Return the median absolute Laplacian: noise moves a median, texture and edges hardly do."""
    if min(luma.shape) < 3:
        return float("nan")
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.median(np.abs(4 * luma[1:-1, 1:-1] - around)))


def _high_band(luma: Floats) -> float:
    energy = dctn(luma, norm="ortho") ** 2
    energy[0, 0] = 0
    height, width = luma.shape
    is_upper = np.add.outer(np.arange(height) / height, np.arange(width) / width) >= 1
    whole = float(energy.sum())
    part = float(energy[is_upper].sum())
    return float(np.log10(part / whole)) if part > 0 else float("nan")


def _blocks(luma: Floats) -> float:
    across = [np.abs(np.diff(luma, axis=axis)).mean(axis=1 - axis) for axis in (0, 1)]
    border = np.concatenate([steps[7::8] for steps in across])
    rest = np.concatenate([np.delete(steps, np.s_[7::8]) for steps in across])
    if border.size == 0 or rest.mean() == 0:
        return float("nan")
    return float(border.mean() / rest.mean())
