"""From per-image tables to numbers with n and a 95% interval. Libraries compute them; this file only asks."""

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import rankdata
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from robustbench_aigi.evaluation.statistics import bootstrap, wilson

DIRECTIONS = {"evasion": 1, "framing": 0}
"""Direction to the label attacked: a fake made to pass as real, a real made to look fake."""

COLUMNS = (
    "detector", "mode", "attack", "direction", "status", "n", "accuracy", "low", "high", "balanced_accuracy",
    "n_correct_before", "success_rate", "success_low", "success_high", "auc", "auc_low", "auc_high", "ap",
    "tpr_at_fpr_1", "tpr_at_fpr_5", "calibration_error", "worst_generator", "worst_generator_accuracy",
    "worst_generator_low", "worst_generator_high", "mean_forwards", "mean_backwards", "flags", "seen",
)  # fmt: skip
BINS = 15
TYPES = {"n": "Int64", "n_correct_before": "Int64", "seen": "boolean"}
"""Of columns that pandas would take for something else where a number is missing."""


def summarise(table: pd.DataFrame, threshold: float, ranked: bool) -> list[dict[str, object]]:
    """Rows of the matrix for one cell: evasion, framing, and both together.

    Args:
        table: a cell's table. threshold: the detector's.
        ranked: whether every image was attacked at full strength (or not through the detector at all), so that AUC, AP
            and TPR at a fixed FPR mean something; they stay empty otherwise.
    """
    before = (table["clean_logit"] > threshold) == (table["label"] == 1)
    rows = []
    for direction in (*DIRECTIONS, "both"):
        part = pd.Series(True, index=table.index)
        if direction in DIRECTIONS:
            part = table["label"] == DIRECTIONS[direction]
        rows.append({"direction": direction, **_proportions(table[part], before[part])})
    rows[0] |= _worst_generator(by_generator(table))
    rows[-1]["balanced_accuracy"] = (float(str(rows[0]["accuracy"])) + float(str(rows[1]["accuracy"]))) / 2
    if ranked and table["label"].nunique() == 2:
        rows[-1] |= _ranking(table)
    return rows


def _proportions(table: pd.DataFrame, before: "pd.Series[bool]") -> dict[str, object]:
    n, right = len(table), int((~table["fooled"]).sum())
    turned, started = int((table["fooled"] & before).sum()), int(before.sum())
    low, high = wilson(right, n)
    success_low, success_high = wilson(turned, started)
    return {
        "n": n,
        "accuracy": right / n if n else math.nan,
        "low": low,
        "high": high,
        "n_correct_before": started,
        "success_rate": turned / started if started else math.nan,
        "success_low": success_low,
        "success_high": success_high,
        "mean_forwards": float(table["forwards"].mean()),
        "mean_backwards": float(table["backwards"].mean()),
    }


def by_generator(table: pd.DataFrame) -> pd.DataFrame:
    """Fakes recognised, a row a generator in order of name: ``generator, n, accuracy, low, high``."""
    fakes = table[(table["label"] == 1) & table["generator"].notna()]
    counted = (~fakes["fooled"]).groupby(fakes["generator"].astype(str)).agg(["size", "sum"])
    rows = [
        {"generator": name, "n": n, "accuracy": right / n, **dict(zip(("low", "high"), wilson(right, n), strict=True))}
        for name, n, right in zip(counted.index, map(int, counted["size"]), map(int, counted["sum"]), strict=True)
    ]
    return pd.DataFrame(rows, columns=["generator", "n", "accuracy", "low", "high"])


def _worst_generator(generators: pd.DataFrame) -> dict[str, object]:
    if len(generators) < 2:
        return {}
    row = generators.sort_values("accuracy", kind="stable").iloc[0]
    return {"worst_generator": row["generator"]} | {
        f"worst_generator_{name}": float(row[name]) for name in ("accuracy", "low", "high")
    }


def calibration_error(labels: "pd.Series[int]", logits: "pd.Series[float]") -> float:
    """Expected calibration error of sigmoid(logit) in 15 equal bins, in [0, 1]. Source: Guo et al., ICML 2017."""
    probabilities = expit(logits.to_numpy())
    true, said = calibration_curve(labels, probabilities, n_bins=BINS)
    filled = np.histogram(probabilities, bins=BINS, range=(0, 1))[0]
    return float(np.average(np.abs(true - said), weights=filled[filled > 0]))


def _auc(labels: NDArray[np.int64], places: NDArray[np.int64], axis: int = -1) -> NDArray[np.float64]:
    """Area under the ROC curve along the last axis, of each row of resamples, by counts: sorting each takes longer.

    Args:
        places: where each score stands among all that there are, 0 for the lowest; equal scores stand together.
    """
    rows, most = math.prod(places.shape[:-1]), int(places.max()) + 1
    first = 2 * most * np.arange(rows).reshape(*places.shape[:-1], 1)
    counts = np.bincount((first + most * (labels == 1) + places).ravel(), minlength=2 * most * rows)
    reals, fakes = np.moveaxis(counts.reshape(*places.shape[:-1], 2, most), -2, 0)
    above = (fakes * (reals.cumsum(axis=-1) - reals / 2)).sum(axis=-1)
    with np.errstate(invalid="ignore"):  # a resample of one class
        found: NDArray[np.float64] = above / (fakes.sum(axis=-1) * reals.sum(axis=-1))
    return found


def _ranking(table: pd.DataFrame) -> dict[str, object]:
    fpr, tpr, _ = roc_curve(table["label"], table["logit"])
    low, high = bootstrap([table["label"], rankdata(table["logit"], method="dense") - 1], _auc, resamples=1000)
    return {
        "auc": float(roc_auc_score(table["label"], table["logit"])),
        "auc_low": low,
        "auc_high": high,
        "calibration_error": calibration_error(table["label"], table["logit"]),
        "ap": float(average_precision_score(table["label"], table["logit"])),
        "tpr_at_fpr_1": float(tpr[fpr <= 0.01].max()),
        "tpr_at_fpr_5": float(tpr[fpr <= 0.05].max()),
    }


def worst_case(clean: pd.DataFrame, cells: list[pd.DataFrame]) -> pd.DataFrame:
    """The table of an adversary who has every attack: an image counts as fooled if any attack that met it fooled it."""
    fooled = clean.set_index("id")["fooled"].copy()
    for cell in cells:
        hit = cell.set_index("id")["fooled"].reindex(fooled.index, fill_value=False)
        fooled |= hit
    spent = sum(cell.set_index("id")["forwards"].reindex(fooled.index, fill_value=0) for cell in cells)
    slopes = sum(cell.set_index("id")["backwards"].reindex(fooled.index, fill_value=0) for cell in cells)
    table = clean.set_index("id").assign(fooled=fooled, forwards=spent, backwards=slopes)
    return table.reset_index()
