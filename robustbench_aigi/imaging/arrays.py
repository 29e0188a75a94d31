"""Arrays of numpy in parts that stay in a core's cache: what numpy does to whole photographs waits
for memory.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]

CACHED_VALUES = 2**15
"""Values of a part, 256 KB in float64; several such parts fit in a core's cache."""


def row_parts(rows: int, values: int) -> Iterator[slice]:
    """Yield slices of some rows each, at least one.

    Args:
        rows: number of rows.
        values: numbers in a row.

    Example:
        >>> [(part.start, part.stop) for part in row_parts(5, 2**14)]
        [(0, 2), (2, 4), (4, 5)]
    """
    step = max(1, CACHED_VALUES // max(1, values))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def rounded(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Round values to the nearest of 0 to 255, in place, and return them.

    Args:
        values: grey levels.

    Example:
        >>> rounded(np.array([-0.7, 3.6, 300.0]))
        array([  0.,   4., 255.])
    """
    return np.clip(np.rint(values, out=values), 0, 255, out=values)


def looked_up(values: Bytes, table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what a table has for each value, in an array of the table's type.

    Args:
        values: ``(H, W)``.
        table: 256 numbers.

    Example:
        >>> looked_up(np.array([[2, 0]], dtype=np.uint8), np.arange(256) / 2)
        array([[1., 0.]])
    """
    found = np.empty(values.shape, table.dtype)
    for part in row_parts(*values.shape):
        table.take(values[part], out=found[part], mode="clip")
    return found
