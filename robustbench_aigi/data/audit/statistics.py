"""Statistics of one image file that a classifier could cheat by: how it is stored, and what its
pixels sum up to.
"""

import hashlib
import io
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling
from scipy.fft import dctn

from robustbench_aigi.data.audit.layout import layout
from robustbench_aigi.data.decoding import FORMATS, decode
from robustbench_aigi.imaging.dct import dct_matrix
from robustbench_aigi.imaging.png import opened

Floats = npt.NDArray[np.floating]
SuiteRow = dict[str, str | float | int]

CATEGORIES = ("format", "mode", "dimensions", "tables", "subsampling", "layout", "fields")
"""How a file is stored. ``fields`` are all that it carries beside pixels: EXIF, ICC, XMP, PNG text,
resolution.
"""
FILE_NUMBERS = ("width", "height", "quality")
CONTENT_NUMBERS = ("bytes",)
"""Of files stored alike, how large one is says how much is in its pixels."""
PIXEL_NUMBERS = ("brightness", "contrast", "saturation", "noise", "high_band", "blocks")

SAMPLING = {0: "4:4:4", 1: "4:2:2", 2: "4:2:0"}
LARGEST = 1024
"""Pixels a side, in the middle of the image, that pixel statistics look at: memory does not grow
with the image.
"""
HASHED = 32
"""Pixels a side of the reduced image that the perceptual hash is taken of."""


def statistics(content: bytes, *, convert: bool = False) -> SuiteRow:
    """All statistics of one image file, ``convert`` as when it is read. Raises ``ImageError``
    with the reason.

    Numbers are in grey levels of 255, except ``saturation`` (0 to 1), ``high_band`` (log10 of the
    share of energy in the upper half of the DCT frequencies), ``blocks`` (steps at 8-pixel borders
    over steps elsewhere; 1 is no JPEG grid) and ``quality`` (1 to 100, not a number for what is no
    JPEG). ``exact`` hashes the pixels, ``perceptual`` what is seen of them.
    """
    pixels = decode(content, convert=convert).permute(1, 2, 0).numpy()
    hashes: SuiteRow = {"exact": exact_hash(pixels), "perceptual": perceptual_hash(pixels)}
    return stored(content) | summed(pixels) | hashes


def stored(content: bytes) -> SuiteRow:
    """How a file holds its pixels: the categories, file and content numbers."""
    with opened(content, FORMATS) as image:
        image.load()
        row: SuiteRow = {
            "format": image.format or "unknown",
            "mode": image.mode,
            "dimensions": f"{image.width} x {image.height}",
            "tables": "none",
            "subsampling": "none",
            "layout": layout(content),
            "fields": ", ".join(sorted(str(key) for key in image.info)) or "none",
            "bytes": len(content),
            "width": image.width,
            "height": image.height,
            "quality": float("nan"),
        }
        if isinstance(image, JpegImageFile):
            tables = image.quantization
            row["tables"] = hashlib.sha256(repr(sorted(tables.items())).encode()).hexdigest()[:8]
            row["subsampling"] = SAMPLING.get(get_sampling(image), "other")
            row["quality"] = quality(tables[min(tables)])
    return row


def quality(table: list[int]) -> float:
    """The quality, 1 to 100, whose libjpeg luminance table is nearest to ``table`` of 64 steps."""
    return 1.0 + float(np.abs(_libjpeg_tables() - np.asarray(table)).sum(axis=1).argmin())


@cache
def _libjpeg_tables() -> npt.NDArray[np.int64]:
    """Luminance tables of the qualities 1 to 100, ``(100, 64)``, as libjpeg itself writes them."""
    tables = []
    for level in range(1, 101):
        file = io.BytesIO()
        Image.new("L", (8, 8)).save(file, format="JPEG", quality=level)
        with Image.open(file) as image:
            if isinstance(image, JpegImageFile):
                tables.append(image.quantization[0])
    return np.asarray(tables, dtype=np.int64)


def summed(pixels: npt.NDArray[np.uint8]) -> SuiteRow:
    """:data:`PIXEL_NUMBERS` of ``(H, W, 3)`` grey levels; those that so small an image has not are
    not a number.
    """
    middle = _middle(pixels).astype(np.float32)
    luma = middle @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    high, low = middle.max(axis=2), middle.min(axis=2)
    return {
        "brightness": float(luma.mean()),
        "contrast": float(luma.std()),
        "saturation": float(((high - low) / np.maximum(high, 1)).mean()),
        "noise": _noise(luma),
        "high_band": _high_band(luma),
        "blocks": _blocks(luma),
    }


def _middle(pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The middle, from a multiple of 8 on, so that a JPEG grid stays in its place."""
    top, left = (max(side - LARGEST, 0) // 16 * 8 for side in pixels.shape[:2])
    return pixels[top : top + LARGEST, left : left + LARGEST]


def _noise(luma: Floats) -> float:
    """Median absolute Laplacian: texture and edges hardly move a median, noise does."""
    if min(luma.shape) < 3:
        return float("nan")
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    return float(np.median(np.abs(4 * luma[1:-1, 1:-1] - around)))


def _high_band(luma: Floats) -> float:
    energy = dctn(luma, norm="ortho") ** 2
    energy[0, 0] = 0
    height, width = luma.shape
    upper = np.add.outer(np.arange(height) / height, np.arange(width) / width) >= 1
    whole, part = float(energy.sum()), float(energy[upper].sum())
    return float(np.log10(part / whole)) if part > 0 else float("nan")


def _blocks(luma: Floats) -> float:
    across = [np.abs(np.diff(luma, axis=axis)).mean(axis=1 - axis) for axis in (0, 1)]
    border = np.concatenate([steps[7::8] for steps in across])
    rest = np.concatenate([np.delete(steps, np.s_[7::8]) for steps in across])
    if border.size == 0 or rest.mean() == 0:
        return float("nan")
    return float(border.mean() / rest.mean())


def exact_hash(pixels: npt.NDArray[np.uint8]) -> int:
    """64 bits of a hash of shape and pixels: files that show the same have the same, whatever their
    format.
    """
    hashed = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=8)
    hashed.update(np.ascontiguousarray(pixels).data)
    return int.from_bytes(hashed.digest(), "big")


def perceptual_hash(pixels: npt.NDArray[np.uint8]) -> int:
    """64 bits: which of the 8 x 8 lowest DCT frequencies are above their median. Source: Zauner,
    thesis, 2010.
    """
    grey = Image.fromarray(pixels).convert("L").resize((HASHED, HASHED), Image.Resampling.LANCZOS)
    low = _low() @ np.asarray(grey, dtype=np.float64) @ _low().T
    bits = low.ravel() > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


@cache
def _low() -> Floats:
    return np.asarray(dct_matrix(HASHED)[:8].numpy())
