"""Classifiers that see how a file is stored, its size, or sums over pixels, never the picture."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold

from robustbench_aigi.data.audit.effects import auc, balanced_accuracy, frequent_values
from robustbench_aigi.data.audit.image_statistics import (
    CONTENT_NUMBERS,
    FILE_NUMBERS,
    PIXEL_NUMBERS,
    STORAGE_CATEGORIES,
)

BASELINE_FEATURES: dict[str, tuple[str, ...]] = {
    "stored": (*STORAGE_CATEGORIES, *FILE_NUMBERS),
    "stored and bytes": (*STORAGE_CATEGORIES, *FILE_NUMBERS, *CONTENT_NUMBERS),
    "pixels": PIXEL_NUMBERS,
}
MAX_FITTED = 20_000
"""Images that a classifier is fitted on: more change little."""
MAX_FOLDS = 5
MISSING_VALUE = -1000.0
"""Stands for a statistic that an image lacks; scikit-learn fails on an all-NaN column."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class _Folds(NamedTuple):
    """Places of the images to fit and to score, pair by pair, and how they were chosen."""

    pairs: list[tuple[Ints, Ints]]
    how: str


def baselines(
    table: pd.DataFrame, parts: Sequence[tuple[str, npt.NDArray[np.bool_]]]
) -> pd.DataFrame:
    """Score gradient boosting on each of :data:`BASELINE_FEATURES` in every part of the dataset.

    Classifiers are fitted on the train split and scored on test; where one of them is missing, they
    are cross-validated by parent.

    Args:
        table: statistics beside ``label``, ``split`` and ``parent``, one row per image.
        parts: names and masks ``(N,)``; one classifier of the whole set is scored in each.

    Returns:
        A row for each of ``features`` and ``part``: ``accuracy`` (balanced) and ``auc`` with 95%
        intervals, ``n``, and ``how``. No row where there are too few images.
    """
    rows = []
    for features, names in BASELINE_FEATURES.items():
        folds = _folds(table)
        scores = _scores(table, names, folds)
        for part, mask in parts:
            chosen = mask & np.isfinite(scores)
            row = {"features": features, "part": part, "how": folds.how}
            rows.append(row | _scored(table[chosen], scores[chosen]))
    frame = pd.DataFrame(rows)
    return frame[frame["n"] > 0].reset_index(drop=True)


def _scored(table: pd.DataFrame, scores: Floats) -> dict[str, float | int]:
    fake = table["label"].to_numpy() == 1
    if fake.all() or not fake.any():
        return {"n": 0}
    groups = pd.factorize(table["parent"])[0].astype(np.int64)
    accuracy = balanced_accuracy((scores > 0.5) == fake, fake, groups)
    area = auc(scores, fake, groups)
    return {
        "n": len(table),
        "accuracy": accuracy.value,
        "low": accuracy.low,
        "high": accuracy.high,
        "auc": area.value,
        "auc_low": area.low,
        "auc_high": area.high,
    }


def _folds(table: pd.DataFrame) -> _Folds:
    labels = table["label"].to_numpy()
    split = table["split"].to_numpy()
    train = np.flatnonzero(split == "train")
    test = np.flatnonzero(split == "test")
    if len(set(labels[train])) == 2 and len(test):
        return _Folds([(train, test)], "fitted on train, scored on test")
    count = min(MAX_FOLDS, table["parent"].nunique())
    if count < 2:
        return _Folds([], "too few parents")
    pairs = GroupKFold(count).split(labels, labels, groups=table["parent"])
    return _Folds(list(pairs), f"cross-validated by parent, {count} folds")


def _scores(table: pd.DataFrame, names: tuple[str, ...], folds: _Folds) -> Floats:
    """Return each image's chance of being AI-generated; NaN where it was not scored."""
    inputs = np.column_stack([_coded(table[name]) for name in names])
    labels = table["label"].to_numpy()
    scores = np.full(len(table), np.nan)
    for fitted, scored in folds.pairs:
        if len(set(labels[fitted])) == 2:
            chosen = np.random.default_rng(0).permutation(fitted)[:MAX_FITTED]
            model = _model(names).fit(inputs[chosen], labels[chosen])
            scores[scored] = model.predict_proba(inputs[scored])[:, 1]
    return scores


def _model(names: tuple[str, ...]) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        categorical_features=[name in STORAGE_CATEGORIES for name in names],
        class_weight="balanced",
        min_samples_leaf=5,
        early_stopping=False,
        random_state=0,
    )


def _coded(values: "pd.Series[float] | pd.Series[str]") -> Floats:
    if values.name in STORAGE_CATEGORIES:
        return pd.factorize(frequent_values(values.astype(str)), sort=True)[0].astype(float)
    return np.asarray(values.fillna(MISSING_VALUE), dtype=float)
