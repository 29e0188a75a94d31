"""Classifiers that never look at a picture: only at how its file is stored, how large it is, or
sums over pixels.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import GroupKFold

from robustbench_aigi.data.audit.effects import auc, balanced_accuracy, common
from robustbench_aigi.data.audit.statistics import (
    CATEGORIES,
    CONTENT_NUMBERS,
    FILE_NUMBERS,
    PIXEL_NUMBERS,
)

FEATURES: dict[str, tuple[str, ...]] = {
    "stored": (*CATEGORIES, *FILE_NUMBERS),
    "stored and bytes": (*CATEGORIES, *FILE_NUMBERS, *CONTENT_NUMBERS),
    "pixels": PIXEL_NUMBERS,
}
LEARNT = 20_000
"""Most images to learn from: more change little."""
FOLDS = 5
ABSENT = -1000.0
"""What stands for a statistic that an image has not; scikit-learn stumbles over a column of nothing
else but nan.
"""


def baselines(
    table: pd.DataFrame, parts: Sequence[tuple[str, npt.NDArray[np.bool_]]]
) -> pd.DataFrame:
    """Score gradient boosting on each of :data:`FEATURES` in every part of the dataset.

    Args:
        table: statistics beside ``label``, ``split`` and ``parent``, a row an image.
        parts: names and masks ``(N,)``; one model of the whole set is scored in each.

    Returns:
        A row for each of ``features`` and ``part``: ``accuracy`` (balanced) and ``auc`` with 95%
        intervals, ``n``, and ``how``. It is fitted on the train split and scored on test; where one
        is missing, cross-validated by parent. No row where there are too few images.
    """
    rows = []
    for features, names in FEATURES.items():
        scores, how = _scores(table, names)
        for part, mask in parts:
            chosen = mask & np.isfinite(scores)
            rows += [
                {"features": features, "part": part, "how": how}
                | _scored(table[chosen], scores[chosen])
            ]
    frame = pd.DataFrame(rows)
    return frame[frame["n"] > 0].reset_index(drop=True)


def _scored(table: pd.DataFrame, scores: npt.NDArray[np.float64]) -> dict[str, float | int]:
    fake = table["label"].to_numpy() == 1
    if fake.all() or not fake.any():
        return {"n": 0}
    groups = pd.factorize(table["parent"])[0].astype(np.int64)
    right = balanced_accuracy((scores > 0.5) == fake, fake, groups)
    area = auc(scores, fake, groups)
    return {
        "n": len(table),
        "accuracy": right.value,
        "low": right.low,
        "high": right.high,
        "auc": area.value,
        "auc_low": area.low,
        "auc_high": area.high,
    }


def _scores(table: pd.DataFrame, names: tuple[str, ...]) -> tuple[npt.NDArray[np.float64], str]:
    """Chance of being AI-generated for each image that the model did not learn from; not a number
    for the others.
    """
    inputs = np.column_stack([_coded(table[name]) for name in names])
    labels, split = table["label"].to_numpy(), table["split"].to_numpy()
    scores = np.full(len(table), np.nan)
    train, test = np.flatnonzero(split == "train"), np.flatnonzero(split == "test")
    if len(set(labels[train])) == 2 and len(test):
        folds, how = [(train, test)], "fitted on train, scored on test"
    else:
        count = min(FOLDS, table["parent"].nunique())
        if count < 2:
            return scores, "too few parents"
        folds = list(GroupKFold(count).split(inputs, labels, groups=table["parent"]))
        how = f"cross-validated by parent, {count} folds"
    for known, unknown in folds:
        if len(set(labels[known])) == 2:
            known = np.random.default_rng(0).permutation(known)[:LEARNT]
            scores[unknown] = (
                _model(names).fit(inputs[known], labels[known]).predict_proba(inputs[unknown])[:, 1]
            )
    return scores, how


def _model(names: tuple[str, ...]) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        categorical_features=[name in CATEGORIES for name in names],
        class_weight="balanced",
        min_samples_leaf=5,
        early_stopping=False,
        random_state=0,
    )


def _coded(values: "pd.Series[float] | pd.Series[str]") -> npt.NDArray[np.float64]:
    if values.name in CATEGORIES:
        return pd.factorize(common(values.astype(str)), sort=True)[0].astype(float)
    return np.asarray(values.fillna(ABSENT), dtype=float)
