"""Real photographs that ship inside scikit-image and scikit-learn, and square crops of them.

Only colour photographs are used. A photograph belongs to one split for good, so no scene is in two.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]
"""``(H, W, 3)`` RGB."""
PHOTOGRAPH_SPLITS: dict[str, tuple[str, ...]] = {
    "train": (
        "astronaut",
        "cat",
        "flower",
        "hubble_deep_field",
        "immunohistochemistry",
        "motorcycle",
        "retina",
    ),
    "validation": ("coffee",),
    "test": ("china", "rocket"),
}
SKLEARN_PHOTOGRAPHS = ("china", "flower")
MIN_CONTRAST = 12.0
"""Grey levels. A crop, or a sample, flatter than this shows nothing of either class."""
CROP_SCALES = (2, 3, 4, 6)
"""Reduction factors. Never 1: at full size a crop would show the JPEG blocks of its file."""


def load_photograph(name: str) -> Pixels:
    """Return a photograph as uint8 ``(H, W, 3)``.

    Args:
        name: one of those in :data:`PHOTOGRAPH_SPLITS`.

    Source: scikit-image and scikit-learn, as installed.
    """
    if name in SKLEARN_PHOTOGRAPHS:
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(f"{name}.jpg"), dtype=np.uint8)
    from skimage import data

    if name == "motorcycle":
        left, _, _ = data.stereo_motorcycle()
        return np.asarray(left, dtype=np.uint8)
    return np.asarray(getattr(data, name)(), dtype=np.uint8)[..., :3]


def contrast(pixels: Pixels) -> float:
    """Return the standard deviation of brightness, in grey levels.

    Args:
        pixels: uint8 ``(H, W, 3)``.

    Example:
        >>> contrast(np.full((8, 8, 3), 200, dtype=np.uint8))
        0.0
    """
    return float(pixels.mean(axis=2).std())


def crops(
    names: tuple[str, ...], count: int, rng: np.random.Generator, size: int = 32
) -> Iterator[tuple[str, Pixels]]:
    """Yield crops as name and pixels, of each photograph in turn.

    A crop is a random square of ``size`` times one of :data:`CROP_SCALES`, reduced with an
    antialiasing Lanczos filter; those under :data:`MIN_CONTRAST` are passed over.

    Args:
        names: of the photographs.
        count: number of crops.
        rng: for scale and place.
        size: pixels per side of a crop.
    """
    photographs = {name: Image.fromarray(load_photograph(name)) for name in names}
    made = 0
    while made < count:
        name = names[made % len(names)]
        photograph = photographs[name]
        side = size * int(rng.choice(CROP_SCALES))
        left = int(rng.integers(photograph.width - side + 1))
        top = int(rng.integers(photograph.height - side + 1))
        square = photograph.crop((left, top, left + side, top + side))
        pixels = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS), dtype=np.uint8)
        if contrast(pixels) < MIN_CONTRAST:
            continue
        made += 1
        yield f"{name}-{left}-{top}-{side}", pixels
