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


def taps(places: Floats, size: int, margin: int = 0) -> Taps:
    """Return the taps of places on an axis; the outermost pixels continue beyond the edge.

    Args:
        places: in pixels, ascending.
        size: pixels on the axis.
        margin: copies of the outermost pixel that the plane has on each side.

    Example:
        >>> found = taps(np.array([-1.0, 0.25]), 2)
        >>> found.before, found.far
        (array([0, 0]), array([0.  , 0.25]))
    """
    floor = np.floor(places)
    before = floor.astype(np.intp)
    near = 1 - (places - floor)
    last = size - 1 + 2 * margin
    first = before + margin
    return Taps(first.clip(0, last), (first + 1).clip(0, last), near, 1 - near)


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
    before = _span(columns.before)
    after = _span(columns.after)
    total: Floats = _columns(upper, before) * columns.near
    for line, which, weight in (
        (upper, after, columns.far),
        (lower, before, columns.near),
        (lower, after, columns.far),
    ):
        total += _columns(line, which) * weight
    return total


def _span(index: npt.NDArray[np.intp]) -> slice | npt.NDArray[np.intp]:
    """Return ascending indices as a slice where none is left out or repeated."""
    is_whole = len(index) > 0 and bool((np.diff(index) == 1).all())
    return slice(int(index[0]), int(index[-1]) + 1) if is_whole else index


def _columns(lines: Floats, which: slice | npt.NDArray[np.intp]) -> Floats:
    """Return columns of lines; a slice is not copied."""
    return lines[:, which] if isinstance(which, slice) else lines.take(which, axis=1)
