"""How far one statistic separates the classes, with a 95% interval that counts parents.

Images of one parent are not independent, so intervals count parents, not images.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import chi2_contingency, ncx2, norm, rankdata

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

MAX_VALUES = 20
"""Values of a category that are kept apart; rarer ones are counted together."""


class Estimate(NamedTuple):
    """A number and its 95% interval."""

    value: float
    low: float
    high: float


def auc(values: Floats, fake: Bools, groups: Ints) -> Estimate:
    """Return the chance that an AI-generated image has the larger value; 0.5 separates nothing.

    Args:
        values: a statistic of each image, ``(N,)``.
        fake: which images are AI-generated, ``(N,)``; both classes must be there.
        groups: numbers that are equal for images of one parent, ``(N,)``.

    Source: DeLong et al., Biometrics 1988; Obuchowski, Biometrics 1997, for groups.

    Example:
        >>> fake = np.array([False, False, True, True])
        >>> auc(np.array([1.0, 2.0, 3.0, 4.0]), fake, np.arange(4)).value
        1.0
    """
    ranks = rankdata(values)
    fakes = int(fake.sum())
    reals = int((~fake).sum())
    above = np.empty(len(values))
    above[fake] = (ranks[fake] - rankdata(values[fake])) / reals
    above[~fake] = 1 - (ranks[~fake] - rankdata(values[~fake])) / fakes
    area = float(above[fake].mean())
    return _interval(area, (above - area) / np.where(fake, fakes, reals), groups)


def balanced_accuracy(right: Bools, fake: Bools, groups: Ints) -> Estimate:
    """Return the mean share of right answers in each class; 0.5 is guessing.

    Args:
        right: which images were classified correctly, ``(N,)``.
        fake: which images are AI-generated, ``(N,)``; both classes must be there.
        groups: numbers that are equal for images of one parent, ``(N,)``.
    """
    shares = {label: float(right[fake == label].mean()) for label in (True, False)}
    own = np.where(fake, shares[True], shares[False])
    counts = np.where(fake, fake.sum(), (~fake).sum())
    return _interval(sum(shares.values()) / 2, (right - own) / counts / 2, groups)


def cramers_v(values: "pd.Series[str]", fake: Bools, groups: Ints) -> Estimate:
    """Return Cramer's V of a category and the class, 0 to 1.

    With two equally frequent values and classes it is the difference of shares. What chance adds to
    chi-square, its degrees of freedom, is subtracted; the interval inverts the noncentral
    chi-square distribution. Counts are scaled to the number of groups.

    Args:
        values: a category of each image, ``(N,)``.
        fake: which images are AI-generated, ``(N,)``.
        groups: numbers that are equal for images of one parent, ``(N,)``.

    Source: Smithson, SAGE 2003.
    """
    table = pd.crosstab(frequent_values(values).to_numpy(), fake).to_numpy(dtype=float)
    if min(table.shape) < 2:
        return Estimate(0.0, 0.0, 0.0)
    count = len(np.unique(groups))
    found = chi2_contingency(table * count / table.sum(), correction=False)
    freedom = int(found.dof)
    sizes = (found.statistic - freedom, *_noncentrality(float(found.statistic), freedom))
    return Estimate(*(float(np.sqrt(min(1.0, max(0.0, size) / count))) for size in sizes))


def frequent_values(values: "pd.Series[str]") -> "pd.Series[str]":
    """Return the values with all but the :data:`MAX_VALUES` most frequent ones as ``others``."""
    kept = values.value_counts().index[:MAX_VALUES]
    return values.where(values.isin(kept), "others")


def _interval(value: float, influence: Floats, groups: Ints) -> Estimate:
    """Return a normal interval inside [0, 1] from each image's influence, summed by group."""
    totals = np.bincount(groups, influence)
    totals = totals[np.bincount(groups) > 0]
    count = len(totals)
    if count < 2:
        return Estimate(value, 0.0, 1.0)
    reach = float(norm.ppf(0.975)) * float(np.sqrt(count / (count - 1) * (totals**2).sum()))
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


def _noncentrality(statistic: float, freedom: int) -> tuple[float, float]:
    """Return the 95% interval of the noncentrality behind a chi-square ``statistic``."""
    highest = statistic + 20 * np.sqrt(statistic + freedom) + 50

    def root_at(share: float) -> float:
        miss = _miss_of(statistic, freedom, share)
        return 0.0 if miss(0.0) <= 0 else float(brentq(miss, 0.0, highest))

    return root_at(0.975), root_at(0.025)


def _miss_of(statistic: float, freedom: int, share: float) -> Callable[[float], float]:
    def miss(size: float) -> float:
        return float(ncx2.cdf(statistic, freedom, size)) - share

    return miss
