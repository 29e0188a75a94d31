"""The front end of a foreign network: the statistics and the size that its images are brought
to.
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral

from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import LEVELS

Statistics = tuple[float, float, float]
"""A number for each of red, green and blue."""


def checked_statistics(
    mean: Iterable[float], std: Iterable[float]
) -> tuple[Statistics, Statistics]:
    """Return normalisation statistics as two triples of floats.

    Args:
        mean: of each channel of images in [0, 1]; within [-1, 1].
        std: of each channel of images in [0, 1]; above 0, at most 1.

    Raises:
        UserError: not three finite numbers each, a deviation of 0 or less, or statistics of pixels
            in [0, 255].
    """
    means, stds = _three(mean, "mean"), _three(std, "std")
    if min(stds) <= 0:
        raise UserError(
            f"std must be above 0 in every channel, got {_written(stds)}. Images are divided by it."
        )
    if max(map(abs, means)) > 1 or max(stds) > 1:
        pixels = max(map(abs, means)) > 1
        right_mean = tuple(m / LEVELS for m in means) if pixels else means
        right_std = (
            tuple(s / LEVELS for s in stds)
            if max(stds) > 1 or (pixels and max(stds) == 1)
            else stds
        )
        raise UserError(
            f"mean={_written(means)} and std={_written(stds)} cannot be statistics of images in [0,"
            " 1], which is what a detector is shown. If they are of pixels in [0, 255], divide"
            f" them by 255: mean={_written(right_mean)}, std={_written(right_std)}."
        )
    return means, stds


def checked_size(size: int | Sequence[int], name: str = "input_size") -> tuple[int, int]:
    """Return ``(height, width)`` in pixels from one side or from both.

    Raises:
        UserError: neither a positive whole number nor two of them.
    """
    sides = (
        tuple(size) if isinstance(size, Iterable) and not isinstance(size, str) else (size, size)
    )
    if len(sides) != 2 or not all(isinstance(side, Integral) and int(side) > 0 for side in sides):
        raise UserError(
            f"{name} must be a side in pixels or (height, width), got {size!r}. Write {name}=224 or"
            f" {name}=(224, 320)."
        )
    height, width = (int(side) for side in sides)
    return height, width


def _three(values: Iterable[float], name: str) -> Statistics:
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise UserError(
            f"{name} must be three finite numbers, one for each channel, got {values!r}. Write"
            f" {name}=(0.5, 0.5, 0.5)."
        )
    return numbers[0], numbers[1], numbers[2]


def _written(numbers: Sequence[float]) -> str:
    """As it is typed, to four digits."""
    return "(" + ", ".join(f"{number:.4g}" for number in numbers) + ")"
