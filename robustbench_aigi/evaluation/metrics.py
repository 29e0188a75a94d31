"""From per-image tables to numbers with n and a 95% interval. Libraries compute them; this file only asks."""

import math

import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from robustbench_aigi.evaluation.statistics import wilson

DIRECTIONS = {"evasion": 1, "framing": 0}
"""Direction to the label attacked: a fake made to pass as real, a real made to look fake."""

COLUMNS = (
    "detector", "mode", "attack", "direction", "status", "n", "accuracy", "low", "high", "balanced_accuracy",
    "n_correct_before", "success_rate", "success_low", "success_high", "auc", "ap", "tpr_at_fpr_1", "tpr_at_fpr_5",
    "mean_forwards", "mean_backwards", "flags", "seen",
)  # fmt: skip
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


def _ranking(table: pd.DataFrame) -> dict[str, object]:
    fpr, tpr, _ = roc_curve(table["label"], table["logit"])
    return {
        "auc": float(roc_auc_score(table["label"], table["logit"])),
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
