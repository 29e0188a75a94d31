"""An image seen between its pixels: bilinear, at rows and columns of any place."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from robustbench_aigi.imaging.arrays import Floats


@dataclass(frozen=True)
class Taps:
    """The two pixels that each place on an axis lies between, and their weights.

    Attributes:
        before: index of the first pixel.
        after: index of the second.
        near: weight of the first.
        far: weight of the second.
    """

    before: npt.NDArray[np.intp]
    after: npt.NDArray[np.intp]
    near: Floats
    far: Floats

    def part(self, which: slice) -> "Taps":
        """Return the taps of some places.

        Args:
            which: of the places.
        """
        return Taps(self.before[which], self.after[which], self.near[which], self.far[which])


def taps(places: Floats, size: int) -> Taps:
    """Return the taps of places on an axis; the outermost pixels continue beyond the edge.

    Args:
        places: in pixels.
        size: pixels on the axis.

    Example:
        >>> found = taps(np.array([-1.0, 0.25]), 2)
        >>> found.before, found.far
        (array([0, 0]), array([0.  , 0.25]))
    """
    floor = np.floor(places)
    before = floor.astype(np.intp)
    near = 1 - (places - floor)
    return Taps(before.clip(0, size - 1), (before + 1).clip(0, size - 1), near, 1 - near)


def sampled(plane: Floats, rows: Taps, columns: Taps) -> Floats:
    """Return a plane ``(H, W)`` at places; the bits are those of ``scipy.ndimage`` at order 1.

    Args:
        plane: float64 ``(H, W)``.
        rows: R places in its rows.
        columns: C places in its columns.

    Returns:
        ``(R, C)``.
    """
    upper = plane.take(rows.before, axis=0) * rows.near[:, None]
    lower = plane.take(rows.after, axis=0) * rows.far[:, None]
    total = upper.take(columns.before, axis=1)
    total *= columns.near
    for line, index, weight in (
        (upper, columns.after, columns.far),
        (lower, columns.before, columns.near),
        (lower, columns.after, columns.far),
    ):
        total += line.take(index, axis=1) * weight
    return total
