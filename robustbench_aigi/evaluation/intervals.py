"""Intervals, tests and sample sizes. Libraries compute them; this file only asks."""

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import DegenerateDataWarning
from scipy.stats import bootstrap as resample
from statsmodels.stats.contingency_tables import mcnemar as contingency
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

MOST = 1_000_000
"""Numbers that are resampled at once."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Wilson's 95% interval of a proportion; (nan, nan) for n = 0.

    ``successes`` may be a sum of shares, one per image, of draws that were right: the interval is
        then a little wide.
    """
    if n == 0:
        return math.nan, math.nan
    low, high = proportion_confint(successes, n, method="wilson")
    return float(low), float(high)


def bootstrap(
    columns: Sequence[ArrayLike],
    statistic: Callable[..., Any],
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """A 95% percentile bootstrap interval of a statistic of paired columns, such as labels and
    logits.

    (nan, nan) where fewer than two rows, or a resample without a second class, leave it undefined.

    Args:
        statistic: of the columns; one that takes ``axis`` gets many resamples at once, and is
            quicker for it.
    """
    data = [np.asarray(column) for column in columns]
    if len(data[0]) < 2:
        return math.nan, math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # the answer says it: (nan, nan)
        found = resample(
            data,
            statistic,
            paired=True,
            batch=max(1, MOST // len(data[0])),
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


class PairedChange(NamedTuple):
    """``lost`` images were right before and are wrong now, ``won`` the reverse; ``p`` is
    two-sided.
    """

    lost: int
    won: int
    p: float


def mcnemar(before: ArrayLike, now: ArrayLike) -> PairedChange:
    """Exact McNemar test of two lists of verdicts, true where right, on the same images."""
    first, second = np.asarray(before, dtype=bool), np.asarray(now, dtype=bool)
    lost, won = int((first & ~second).sum()), int((~first & second).sum())
    table = [[int((first & second).sum()), lost], [won, int((~first & ~second).sum())]]
    return PairedChange(
        lost, won, float(contingency(table, exact=True).pvalue) if lost + won else 1.0
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are, by Holm's step-down method."""
    return [float(p) for p in multipletests(p_values, method="holm")[1]] if len(p_values) else []


def images_for(width: float, share: float = 0.5) -> int:
    """How many images make a 95% Wilson interval around ``share`` at most ``width`` wide, both in
    [0, 1].
    """

    def wide(n: int) -> float:
        low, high = wilson(round(share * n), n)
        return high - low

    high = 1
    while wide(high) > width:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if wide(middle) <= width else (middle, high)
    return high
