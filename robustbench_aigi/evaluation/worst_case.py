"""The worst case over several attacks: the table of an adversary who has every one of them."""

from collections.abc import Iterable, Iterator
from typing import Any, final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

VERDICT_COLUMNS = ("id", "fooled", "kept", "forwards", "backwards")
"""What is needed of an attack's table."""
DRAW_COLUMNS = ("draws", "wrong", "wrong_half")
"""What is needed besides where scores are random."""


def worst_case(clean: pd.DataFrame, cells: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """Return the table of an adversary who has every attack.

    An image counts as fooled if any attack that met it fooled it. For a random detector the worst
    attack of each image is chosen by one half of the draws and judged by the other, both ways
    round: chosen and judged by the same draws, every further attack would fool more by chance.

    Args:
        clean: table of the clean cell.
        cells: tables of the attacks, each of some or all of the images.
    """
    worst = WorstCase(clean)
    for cell in cells:
        worst.add(cell)
    return worst.table()


@final
class WorstCase:
    """The worst case so far; of each attack only what changes it is in memory.

    Args:
        clean: table of the clean cell.

    Attributes:
        met_all: whether each image met every attack.
    """

    def __init__(self, clean: pd.DataFrame) -> None:
        self._clean = clean
        self.met_all = np.ones(len(clean), bool)
        self._verdicts = {name: clean[name].to_numpy(bool) for name in ("fooled", "kept")}
        self._passes = {name: np.zeros(len(clean), np.int32) for name in ("forwards", "backwards")}
        self._draws = None if is_certain(clean) else _Draws(clean)

    def add(self, cell: pd.DataFrame) -> None:
        """Add the table of an attack."""
        if cell.empty:
            self.met_all[:] = False
            return
        places = _places(self._clean["id"], cell["id"])
        met = places >= 0
        self.met_all &= met
        for name, found in self._verdicts.items():
            self._verdicts[name] = found | (met & cell[name].to_numpy(bool)[places])
        for name, count in self._passes.items():
            count += np.where(met, cell[name].to_numpy()[places], 0)
        if self._draws is not None:
            self._draws.add(cell, places, met)

    def table(self) -> pd.DataFrame:
        """Return the table, in the order of the clean images."""
        wrong = self._verdicts["fooled"].astype(np.int16)
        judged = wrong if self._draws is None else self._draws.wrong()
        return self._clean.assign(**self._verdicts, **self._passes, wrong=judged)


class _Draws:
    """The wrong draws of the worst attack on each image, chosen by the other half of its draws."""

    def __init__(self, clean: pd.DataFrame) -> None:
        draws = clean["draws"].to_numpy(float)
        half = draws // 2
        self._weights = (draws - half, half)
        everyone = np.ones(len(clean), bool)
        self._worst = [
            (chosen.copy(), judged.copy())
            for chosen, judged in _both_ways(clean, np.arange(len(clean)), everyone)
        ]

    def add(self, cell: pd.DataFrame, places: NDArray[Any], met: NDArray[np.bool_]) -> None:
        """Replace what an attack makes worse."""
        shares = _both_ways(cell, places, met)
        for (worst, judged), (chosen, other) in zip(self._worst, shares, strict=True):
            is_worse = met & (chosen > worst)
            worst[is_worse] = chosen[is_worse]
            judged[is_worse] = other[is_worse]

    def wrong(self) -> NDArray[np.float64]:
        """Return how many draws are wrong."""
        found = np.zeros(len(self._weights[0]))
        for (_, judged), weight in zip(self._worst, self._weights, strict=True):
            found += judged * weight
        return found


def is_certain(table: pd.DataFrame) -> bool:
    """Return whether one score was drawn of each image, because the detector is not random."""
    return int(table["draws"].max()) == 1


def _both_ways(
    cell: pd.DataFrame, places: NDArray[Any], met: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Yield the shares of wrong draws to choose by and to judge by, for either half."""
    draws, wrong, first = (
        np.where(met, cell[name].to_numpy(float)[places], missing)
        for name, missing in (("draws", 1), ("wrong", 0), ("wrong_half", 0))
    )
    half = draws // 2
    shares = (first / np.maximum(half, 1), (wrong - first) / (draws - half))
    yield shares[0], shares[1]
    yield shares[1], shares[0]


def _places(clean: "pd.Series[Any]", ids: "pd.Series[Any]") -> NDArray[Any]:
    """Return where each clean image is in an attack's table; -1 where it is not."""
    if len(clean) == len(ids) and bool((clean.to_numpy() == ids.to_numpy()).all()):
        return np.arange(len(clean))
    places: NDArray[Any] = pd.Index(ids).get_indexer(pd.Index(clean))
    return places
