"""Real photographs that ship inside scikit-image and scikit-learn, and square crops of them.

Only colour photographs are used. A photograph belongs to one split for good, so no scene is on both
sides.
"""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]

SPLITS: dict[str, tuple[str, ...]] = {
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
LEAST_CONTRAST = 12.0
"""Grey levels. A crop, or a sample, flatter than this shows nothing to either class."""
SCALES = (2, 3, 4, 6)
"""Reduction factors. Never 1: at full size a crop would still carry the JPEG blocks of the
photograph's own file.
"""


def load(name: str) -> Pixels:
    """Return a photograph as ``(H, W, 3)`` RGB bytes. Source: scikit-image and scikit-learn, as
    installed.
    """
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(f"{name}.jpg"), dtype=np.uint8)
    from skimage import data

    if name == "motorcycle":
        left, _, _ = data.stereo_motorcycle()
        return np.asarray(left, dtype=np.uint8)
    return np.asarray(getattr(data, name)(), dtype=np.uint8)[..., :3]


def contrast(pixels: Pixels) -> float:
    """Standard deviation of brightness in grey levels: tells an empty sky from a texture."""
    return float(pixels.mean(axis=2).std())


def crops(
    names: tuple[str, ...], count: int, rng: np.random.Generator, size: int = 32
) -> Iterator[tuple[str, Pixels]]:
    """Yield ``count`` pairs of a crop's name and its ``(size, size, 3)`` bytes, photographs taken
    in turn.

    A crop is a random square of ``size`` times one of :data:`SCALES`, reduced with an antialiasing
    Lanczos filter. Crops flatter than :data:`LEAST_CONTRAST` are passed over.
    """
    photographs = {name: Image.fromarray(load(name)) for name in names}
    made = 0
    while made < count:
        name = names[made % len(names)]
        photograph = photographs[name]
        side = size * int(rng.choice(SCALES))
        left = int(rng.integers(photograph.width - side + 1))
        top = int(rng.integers(photograph.height - side + 1))
        square = photograph.crop((left, top, left + side, top + side))
        pixels = np.asarray(square.resize((size, size), Image.Resampling.LANCZOS), dtype=np.uint8)
        if contrast(pixels) < LEAST_CONTRAST:
            continue
        made += 1
        yield f"{name}-{left}-{top}-{side}", pixels
