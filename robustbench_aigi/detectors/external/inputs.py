"""Checks of the size and the normalisation of a foreign network's input."""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral

from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import MAX_LEVEL

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

    Example:
        >>> checked_statistics([0.5, 0.5, 0.5], [1, 1, 1])
        ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
    """
    means = _three(mean, "mean")
    stds = _three(std, "std")
    if min(stds) <= 0:
        raise UserError(
            f"std must be above 0 in every channel, got {_written(stds)}. Images are divided by it."
        )
    if max(map(abs, means)) > 1 or max(stds) > 1:
        raise UserError(_of_pixels(means, stds))
    return means, stds


def _of_pixels(means: Statistics, stds: Statistics) -> str:
    """Return the message about statistics that seem to be of pixels in [0, 255]."""
    right_means = means
    right_stds = stds
    has_pixel_means = max(map(abs, means)) > 1
    if has_pixel_means:
        right_means = _as_shares(means)
    if max(stds) > 1 or (has_pixel_means and max(stds) == 1):
        right_stds = _as_shares(stds)
    return (
        f"mean={_written(means)} and std={_written(stds)} cannot be statistics of images in [0, 1],"
        " which is what a detector is shown. If they are of pixels in [0, 255], divide them by 255:"
        f" mean={_written(right_means)}, std={_written(right_stds)}."
    )


def _as_shares(levels: Statistics) -> Statistics:
    return levels[0] / MAX_LEVEL, levels[1] / MAX_LEVEL, levels[2] / MAX_LEVEL


def checked_size(size: int | Sequence[int], name: str = "input_size") -> tuple[int, int]:
    """Return ``(height, width)`` in pixels from one side or from both.

    Args:
        size: side of a square, or ``(height, width)``, in pixels.
        name: of the argument, for messages.

    Raises:
        UserError: neither a positive whole number nor two of them.

    Example:
        >>> checked_size(224), checked_size([224, 320])
        ((224, 224), (224, 320))
    """
    sides: tuple[object, ...] = (size, size)
    if isinstance(size, Iterable) and not isinstance(size, str):
        sides = tuple(size)
    whole = [int(side) for side in sides if isinstance(side, Integral)]
    if len(sides) != 2 or len(whole) != 2 or min(whole) <= 0:
        raise UserError(
            f"{name} must be a side in pixels or (height, width), got {size!r}. Write {name}=224 or"
            f" {name}=(224, 320)."
        )
    return whole[0], whole[1]


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
    """Return numbers as they are typed, to four digits."""
    return "(" + ", ".join(f"{number:.4g}" for number in numbers) + ")"
