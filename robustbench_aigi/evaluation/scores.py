"""Metrics of a ranking: how well logits separate AI-generated images from real ones."""

import math
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_auc_score, roc_curve

from robustbench_aigi.evaluation.intervals import bootstrap

CALIBRATION_BINS = 15
AUC_RESAMPLES = 1000
"""Bootstrap resamples behind the interval of the AUC."""
MANY_IMAGES = 1_000_000
"""Images from which on the interval of the AUC is computed without resampling."""
NORMAL_QUANTILE = 1.959964
"""Standard deviations of a normal distribution on either side of 95% of it."""


def auc(labels: "pd.Series[int]", logits: "pd.Series[float]") -> float:
    """Return the area under the ROC curve, in [0, 1]; 0.5 for guessing."""
    return float(roc_auc_score(labels, logits))


def auc_interval(labels: "pd.Series[int]", logits: "pd.Series[float]") -> tuple[float, float]:
    """Return the 95% interval of the AUC: by bootstrap, or by DeLong for a million images."""
    if len(labels) >= MANY_IMAGES:
        return delong_interval(labels.to_numpy() == 1, logits.to_numpy())
    ranks = rankdata(logits, method="dense") - 1
    return bootstrap([labels, ranks], auc_of_ranks, resamples=AUC_RESAMPLES)


def delong_interval(
    is_fake: NDArray[np.bool_], logits: NDArray[np.floating[Any]]
) -> tuple[float, float]:
    """Return the 95% interval of the AUC that DeLong's variance gives, within [0, 1].

    Source: DeLong et al., Biometrics 1988; by ranks: Sun & Xu, IEEE Signal Processing Letters 2014.

    Args:
        is_fake: ``(N,)``, images of both classes.
        logits: ``(N,)``.
    """
    ranks = rankdata(logits)
    variance = 0.0
    above = math.nan
    for own in (~is_fake, is_fake):
        others = len(own) - int(own.sum())
        shares = (ranks[own] - rankdata(logits[own])) / others
        above = float(shares.mean())
        variance += float(shares.var(ddof=1)) / int(own.sum())
    reach = NORMAL_QUANTILE * math.sqrt(variance)
    return max(0.0, above - reach), min(1.0, above + reach)


def auc_of_ranks(
    labels: NDArray[np.int64], ranks: NDArray[np.int64], axis: int = -1
) -> NDArray[np.float64]:
    """Return the AUC of each resample, by counting: sorting every resample takes longer.

    Args:
        labels: ``(..., N)``, 1 for AI-generated.
        ranks: ``(..., N)``, dense ranks of the scores from 0; equal scores share a rank.
        axis: the axis of the images; always the last one here.
    """
    rows = math.prod(ranks.shape[:-1])
    most = int(ranks.max()) + 1
    first = 2 * most * np.arange(rows).reshape(*ranks.shape[:-1], 1)
    counts = np.bincount((first + most * (labels == 1) + ranks).ravel(), minlength=2 * most * rows)
    reals, fakes = np.moveaxis(counts.reshape(*ranks.shape[:-1], 2, most), -2, 0)
    above = (fakes * (reals.cumsum(axis=-1) - reals / 2)).sum(axis=-1)
    with np.errstate(invalid="ignore"):  # a resample may hold one class alone
        found: NDArray[np.float64] = above / (fakes.sum(axis=-1) * reals.sum(axis=-1))
    return found


def calibration_error(labels: "pd.Series[int]", logits: "pd.Series[float]") -> float:
    """Return the expected calibration error of sigmoid(logit) in 15 equal bins, in [0, 1].

    Source: Guo et al., ICML 2017.

    Args:
        labels: 1 for AI-generated, 0 for real.
        logits: one per image, above 0 for AI-generated.
    """
    probabilities = expit(logits.to_numpy())
    true, predicted = calibration_curve(labels, probabilities, n_bins=CALIBRATION_BINS)
    filled = np.histogram(probabilities, bins=CALIBRATION_BINS, range=(0, 1))[0]
    return float(np.average(np.abs(true - predicted), weights=filled[filled > 0]))


def brier_score(labels: "pd.Series[int]", logits: "pd.Series[float]") -> float:
    """Return the mean squared error of sigmoid(logit) as a probability, in [0, 1].

    Source: Brier, Monthly Weather Review 1950.

    Args:
        labels: 1 for AI-generated, 0 for real.
        logits: one per image, above 0 for AI-generated.

    Example:
        >>> brier_score(pd.Series([1, 0]), pd.Series([0.0, 0.0]))
        0.25
    """
    return float(np.mean((expit(logits.to_numpy()) - labels.to_numpy()) ** 2))


def equal_error_rate(labels: "pd.Series[int]", logits: "pd.Series[float]") -> float:
    """Return the error rate at the threshold where both classes have the same, in [0, 1].

    Between two points of the ROC curve it is interpolated linearly.

    Args:
        labels: 1 for AI-generated, 0 for real.
        logits: one per image; any increasing score gives the same rate.

    Example:
        >>> equal_error_rate(pd.Series([1, 1, 0, 0]), pd.Series([2.0, -1.0, 1.0, -2.0]))
        0.5
    """
    false_alarms, found, _ = roc_curve(labels, logits, drop_intermediate=False)
    missed = 1 - found
    after = int(np.argmax(false_alarms >= missed))
    if after == 0:
        return float(false_alarms[0])
    gap_before = missed[after - 1] - false_alarms[after - 1]
    gap_after = false_alarms[after] - missed[after]
    share = gap_before / (gap_before + gap_after)
    rise = false_alarms[after] - false_alarms[after - 1]
    return float(false_alarms[after - 1] + share * rise)
