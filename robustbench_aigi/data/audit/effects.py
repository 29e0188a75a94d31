"""How far one statistic tells real from AI-generated, with a 95% interval that counts parents, not
images.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import chi2_contingency, ncx2, norm, rankdata

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

COMMON = 20
"""Values of a category that are kept apart; rarer ones are lumped together."""


class Estimate(NamedTuple):
    """A number and its 95% interval."""

    value: float
    low: float
    high: float


def auc(values: Floats, fake: Bools, groups: Ints) -> Estimate:
    """Chance that an AI-generated image has the larger value, ``(N,)``; 0.5 tells nothing.

    Args:
        fake: labels, ``(N,)``. groups: ``(N,)`` numbers, the same for images of one parent, which
            count together.

    Source: DeLong et al., Biometrics 1988; Obuchowski, Biometrics 1997, for groups.
    """
    every, ones, zeros = rankdata(values), int(fake.sum()), int((~fake).sum())
    above = np.empty(len(values))
    above[fake] = (every[fake] - rankdata(values[fake])) / zeros
    above[~fake] = 1 - (every[~fake] - rankdata(values[~fake])) / ones
    area = float(above[fake].mean())
    return _interval(area, (above - area) / np.where(fake, ones, zeros), groups)


def balanced_accuracy(right: Bools, fake: Bools, groups: Ints) -> Estimate:
    """Mean of the shares of each class that were judged right; 0.5 is guessing. Arguments as for
    :func:`auc`.
    """
    shares = {label: float(right[fake == label].mean()) for label in (True, False)}
    own = np.where(fake, shares[True], shares[False])
    counts = np.where(fake, fake.sum(), (~fake).sum())
    return _interval(sum(shares.values()) / 2, (right - own) / counts / 2, groups)


def _interval(value: float, influence: Floats, groups: Ints) -> Estimate:
    """Normal interval from each image's share in the deviation, summed by group, inside [0, 1]."""
    totals = np.bincount(groups, influence)
    totals = totals[np.bincount(groups) > 0]
    count = len(totals)
    if count < 2:
        return Estimate(value, 0.0, 1.0)
    reach = float(norm.ppf(0.975)) * float(np.sqrt(count / (count - 1) * (totals**2).sum()))
    return Estimate(value, max(0.0, value - reach), min(1.0, value + reach))


def cramers_v(values: "pd.Series[str]", fake: Bools, groups: Ints) -> Estimate:
    """Cramer's V of a category and the class, 0 to 1: with two equal values and classes, the
    difference of shares.

    What chance alone adds to chi-square, its degrees of freedom, is taken off; the interval inverts
    the noncentral chi-square distribution. Counts are scaled to the number of groups. Source:
    Smithson, SAGE 2003.
    """
    table = pd.crosstab(common(values).to_numpy(), fake).to_numpy(dtype=float)
    if min(table.shape) < 2:
        return Estimate(0.0, 0.0, 0.0)
    found = chi2_contingency(table * len(np.unique(groups)) / table.sum(), correction=False)
    count, freedom = len(np.unique(groups)), int(found.dof)
    sizes = (found.statistic - freedom, *_noncentral(float(found.statistic), freedom))
    return Estimate(*(float(np.sqrt(min(1.0, max(0.0, size) / count))) for size in sizes))


def common(values: "pd.Series[str]") -> "pd.Series[str]":
    """The :data:`COMMON` most frequent values; ``others`` stands for the rest."""
    kept = values.value_counts().index[:COMMON]
    return values.where(values.isin(kept), "others")


def _noncentral(statistic: float, freedom: int) -> tuple[float, float]:
    """95% interval of the noncentrality behind a chi-square ``statistic``."""

    def at(share: float) -> float:
        def miss(size: float) -> float:
            return float(ncx2.cdf(statistic, freedom, size)) - share

        most = statistic + 20 * np.sqrt(statistic + freedom) + 50
        return 0.0 if miss(0.0) <= 0 else float(brentq(miss, 0.0, most))

    return at(0.975), at(0.025)
