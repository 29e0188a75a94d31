"""A tone curve as a table: grey levels are looked up, and equal those that are computed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from robustbench_aigi.imaging.arrays import Bytes, Floats, rounded
from robustbench_aigi.imaging.pixels import MAX_LEVEL

CURVE_BINS = 2**15
"""Bins between 0 and 1 of a table."""
CURVE_ERROR = 1e-6
"""Grey levels by which a computed curve may be off, many times more than it is."""


@dataclass(frozen=True)
class ToneCurve:
    """A curve that never falls, from values in [0, 1] to grey levels.

    Attributes:
        curve: function from any array in [0, 1] to values in [0, 1], element by element.
    """

    curve: Callable[[Floats], Floats]

    def levels(self, values: Floats) -> Bytes:
        """Return the grey levels nearest to the curve at some values, of the same shape.

        Only in a bin that two levels share the curve itself is computed.

        Args:
            values: contiguous, in [0, 1].
        """
        table, is_shared = self._table
        places = (values * CURVE_BINS).astype(np.intp)
        levels: Bytes = table.take(places, mode="clip")
        shared = np.flatnonzero(is_shared.take(places, mode="clip"))
        levels.reshape(-1)[shared] = self._computed(values.reshape(-1)[shared])
        return levels

    @cached_property
    def _table(self) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        """The level of each bin, and whether a bin has more than one."""
        ends = MAX_LEVEL * self.curve(np.minimum(np.arange(CURVE_BINS + 2) / CURVE_BINS, 1))
        lowest = rounded(ends[:-1] - CURVE_ERROR)
        highest = rounded(ends[1:] + CURVE_ERROR)
        return lowest.astype(np.uint8), lowest != highest

    def _computed(self, values: Floats) -> Bytes:
        return rounded(MAX_LEVEL * self.curve(values)).astype(np.uint8)
