"""Intervals, tests and sample sizes."""

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

MAX_RESAMPLED = 1_000_000
"""Numbers that are resampled at once."""


def wilson(successes: float, n: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a proportion; (nan, nan) for n = 0.

    Args:
        successes: a count, or a sum of shares per image, for which the interval is a little wide.
        n: of how many.

    Example:
        >>> low, high = wilson(81, 263)
        >>> round(low, 4), round(high, 4)
        (0.2553, 0.3662)
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
    """Return a 95% percentile bootstrap interval of a statistic.

    It is (nan, nan) where fewer than two rows, or a resample without a second class, leave it
    undefined.

    Args:
        columns: paired values of equal length, such as labels and logits.
        statistic: of the columns. One that takes ``axis`` gets many resamples at once.
        resamples: how many.
        seed: of the resampling.
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
            batch=max(1, MAX_RESAMPLED // len(data[0])),
            n_resamples=resamples,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


class PairedChange(NamedTuple):
    """Outcome of a paired comparison.

    Attributes:
        lost: images that were right before and are wrong now.
        won: the reverse.
        p: two-sided p-value of McNemar's exact test.
    """

    lost: int
    won: int
    p: float


def mcnemar(before: ArrayLike, now: ArrayLike) -> PairedChange:
    """Compare two lists of verdicts on the same images by McNemar's exact test.

    Args:
        before: true where right.
        now: likewise, in the same order.
    """
    first = np.asarray(before, dtype=bool)
    second = np.asarray(now, dtype=bool)
    lost = int((first & ~second).sum())
    won = int((~first & second).sum())
    table = [[int((first & second).sum()), lost], [won, int((~first & ~second).sum())]]
    return PairedChange(
        lost, won, float(contingency(table, exact=True).pvalue) if lost + won else 1.0
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for their number, by Holm's step-down method.

    Args:
        p_values: each in [0, 1].
    """
    if not len(p_values):
        return []
    return [float(p) for p in multipletests(p_values, method="holm")[1]]


def images_for(width: float, share: float = 0.5) -> int:
    """Return how many images make a 95% Wilson interval narrow enough.

    Args:
        width: of the interval, above 0 and below 1.
        share: the proportion it is around, in [0, 1].

    Example:
        >>> images_for(0.1)
        381
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
        if wide(middle) <= width:
            high = middle
        else:
            low = middle
    return high
