"""Intervals, tests and sample sizes against published tables."""

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.metrics import brier_score_loss, roc_auc_score

from robustbench_aigi.evaluation.columns import COLUMN_NAMES, MATRIX_METRICS
from robustbench_aigi.evaluation.intervals import bootstrap, holm, images_for, mcnemar, wilson
from robustbench_aigi.evaluation.scores import auc_of_ranks, brier_score, equal_error_rate
from robustbench_aigi.report.rules.bound import GATED_METRICS
from robustbench_aigi.report.schema import FullRow


def test_wilson_against_published_numbers() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)
    assert all(math.isnan(value) for value in wilson(0, 0))


def test_mcnemar_against_a_published_table() -> None:
    """Agresti, Categorical Data Analysis: the prime minister's approval, 794 approve twice, 150 and
    86 change.
    """
    before = [True] * 944 + [False] * 656
    now = [True] * 794 + [False] * 150 + [True] * 86 + [False] * 570
    change = mcnemar(before, now)
    assert (change.lost, change.won) == (150, 86)
    assert change.p == pytest.approx(2 * sum(math.comb(236, k) for k in range(87)) / 2**236)
    assert mcnemar([True, False], [True, False]).p == 1


def test_holm_against_the_worked_example() -> None:
    """Holm, Scandinavian Journal of Statistics 6 (1979): the smallest times their number, the next
    times one less.
    """
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_bootstrap_covers_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(100):
        low, high = bootstrap([rng.normal(size=60)], np.mean, resamples=300, seed=trial)
        covered += low <= 0 <= high
    assert 88 <= covered <= 99
    labels, scores = np.arange(200) % 2, rng.normal(size=200) + np.arange(200) % 2
    low, high = bootstrap([labels, scores], roc_auc_score, resamples=300)
    assert low < roc_auc_score(labels, scores) < high
    assert (low, high) == bootstrap([labels, scores], roc_auc_score, resamples=300)
    assert all(math.isnan(end) for end in bootstrap([[1.0]], np.mean))


def test_sample_size_is_the_least_that_is_narrow_enough() -> None:
    for width, share in ((0.02, 0.5), (0.05, 0.5), (0.02, 0.95), (0.1, 0.0)):
        n = images_for(width, share)
        low, high = wilson(round(share * n), n)
        assert high - low <= width
        low, high = wilson(round(share * (n - 1)), n - 1)
        assert high - low > width
    assert images_for(0.02) == pytest.approx(9604, abs=8)  # 1.96^2 / 0.02^2, the normal interval's


def test_counting_gives_the_area_that_sorting_gives() -> None:
    rng = np.random.default_rng(2)
    labels, scores = rng.integers(0, 2, (5, 40)), rng.normal(size=(5, 40)).round(1)
    labels[:, 0], labels[:, 1] = 0, 1
    places = rankdata(scores, method="dense").reshape(scores.shape) - 1
    rows = [roc_auc_score(*pair) for pair in zip(labels, scores, strict=True)]
    assert auc_of_ranks(labels, places) == pytest.approx(rows, abs=1e-12)
    assert auc_of_ranks(labels[0], places[0]) == pytest.approx(rows[0], abs=1e-12)
    assert np.isnan(auc_of_ranks(np.ones(4, dtype=int), np.arange(4)))


def test_brier_score_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = pd.Series(rng.integers(0, 2, 50))
    logits = pd.Series(rng.normal(size=50))
    expected = brier_score_loss(labels, expit(logits))
    assert brier_score(labels, logits) == pytest.approx(expected, abs=1e-12)


@given(seed=st.integers(0, 2**31 - 1), shift=st.floats(-1.0, 3.0))
def test_equal_error_rate_is_between_the_errors_beside_it(seed: int, shift: float) -> None:
    """At every threshold the larger of both errors is at least the rate; the smaller at most."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation([0, 1] * 10)
    logits = rng.normal(size=20) + shift * labels
    rate = equal_error_rate(pd.Series(labels), pd.Series(logits))
    thresholds = [-np.inf, *logits, np.inf]
    false_alarms = [float((logits[labels == 0] > t).mean()) for t in thresholds]
    missed = [float((logits[labels == 1] <= t).mean()) for t in thresholds]
    errors = list(zip(false_alarms, missed, strict=True))
    assert max(min(pair) for pair in errors) - 1e-9 <= rate <= min(max(p) for p in errors) + 1e-9


def test_a_metric_is_one_entry() -> None:
    """Columns, schema, gate and heat map follow the one list."""
    for metric in MATRIX_METRICS:
        assert set(metric.companions) | {metric.name} <= set(FullRow.model_fields)
        assert (metric.name in GATED_METRICS) == metric.can_be_gated
    assert set(COLUMN_NAMES) == set(FullRow.model_fields)
