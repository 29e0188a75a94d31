"""From per-image tables to rows of numbers, each with n and a 95% interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from robustbench_aigi.evaluation.columns import FROZEN_RATES, MATRIX_METRICS
from robustbench_aigi.evaluation.intervals import wilson

SUMMARY_COLUMNS = (
    "label",
    "generator",
    "clean_logit",
    "logit",
    "draws",
    "wrong",
    "kept",
    "forwards",
    "backwards",
)
"""Columns that :func:`summarise` needs."""
GENERATOR_COLUMNS = ("label", "generator", "draws", "wrong")
"""Columns that :func:`by_generator` needs."""
RANK_COLUMNS = ("label", "logit")
"""Columns that :func:`rank_metrics` needs."""
LABEL_OF_DIRECTION = {"evasion": 1, "framing": 0}
"""Direction to the label attacked: a fake made to pass as real, a real made to look fake."""


@dataclass(frozen=True)
class FrozenThresholds:
    """Thresholds fixed on clean reals, which no attack moves.

    Attributes:
        at: ending of a column to its threshold: the lowest logit above which at most that share of
            the clean reals lies; NaN where there are too few reals.
        reals: how many clean reals they were fixed on.
    """

    at: Mapping[str, float]
    reals: int

    @classmethod
    def of(cls, clean: pd.DataFrame) -> "FrozenThresholds":
        """Fix the thresholds on the table of a clean cell."""
        reals = np.sort(clean.loc[clean["label"] == 0, "logit"].to_numpy(dtype=np.float64))[::-1]
        allowed = {name: int(rate * len(reals) + 1e-9) for name, rate in FROZEN_RATES.items()}
        return cls(
            {name: float(reals[count]) if count else math.nan for name, count in allowed.items()},
            len(reals),
        )


def summarise(
    table: pd.DataFrame, threshold: float, ranked: bool, frozen: FrozenThresholds | None = None
) -> list[dict[str, object]]:
    """Return the rows of one cell: evasion, framing, and both together.

    Args:
        table: of the cell, one row per image.
        threshold: the detector's, a logit.
        ranked: whether every image was scored or attacked at full strength. Only then AUC, AP,
            calibration and the rates at frozen thresholds mean something; else they stay empty.
        frozen: thresholds fixed on the detector's clean cell; without them their rates stay empty.
    """
    before = (table["clean_logit"] > threshold) == (table["label"] == 1)
    rows = []
    for direction in (*LABEL_OF_DIRECTION, "both"):
        part = pd.Series(True, index=table.index)
        if direction in LABEL_OF_DIRECTION:
            part = table["label"] == LABEL_OF_DIRECTION[direction]
        rows.append({"direction": direction, **_proportions(table[part], before[part])})
    rows[0] |= _worst_generator(by_generator(table))
    rows[-1]["balanced_accuracy"] = (
        float(str(rows[0]["accuracy"])) + float(str(rows[1]["accuracy"]))
    ) / 2
    if ranked:
        rows[-1] |= rank_metrics(table, frozen)
    return rows


def rank_metrics(table: pd.DataFrame, frozen: FrozenThresholds | None = None) -> dict[str, object]:
    """Return the metrics that compare logits with labels; none where a class is missing.

    Args:
        table: of the cell, its columns ``label`` and ``logit``.
        frozen: as in :func:`summarise`.
    """
    if table["label"].nunique() < 2:
        return {}
    return _scores(table) | ({} if frozen is None else _at_frozen(table, frozen))


def _proportions(table: pd.DataFrame, before: "pd.Series[bool]") -> dict[str, object]:
    n = len(table)
    shares = shares_right(table)
    right = float(shares.sum())
    turned = float((1 - shares)[before].sum())
    started = int(before.sum())
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
        **_of_draws(table),
    }


def shares_right(table: pd.DataFrame) -> "pd.Series[float]":
    """Return the share of each image's draws after the attack that are right.

    It is 0 or 1 for a detector that is not random.

    Args:
        table: of a cell.
    """
    return 1 - table["wrong"] / table["draws"]


def _of_draws(table: pd.DataFrame) -> dict[str, object]:
    """Return the verdict of a majority of draws, and what the attack itself saw."""
    draws = int(table["draws"].max()) if len(table) else 1
    if draws == 1:
        return {"draws": 1}
    right = int((2 * table["wrong"] < table["draws"]).sum())
    n = len(table)
    low, high = wilson(right, n)
    majority = {"majority_accuracy": right / n, "majority_low": low, "majority_high": high}
    return {"draws": draws, **majority, "kept_accuracy": float((~table["kept"]).mean())}


def by_generator(table: pd.DataFrame) -> pd.DataFrame:
    """Return the share of fakes recognised, one row per generator in order of name.

    Columns are ``generator, n, accuracy, low, high``.

    Args:
        table: of a cell.
    """
    fakes = table[(table["label"] == 1) & table["generator"].notna()]
    shares = shares_right(fakes).groupby(fakes["generator"], observed=True)
    counted = shares.agg(["size", "sum"]).rename(index=str).sort_index()
    rows = [
        {
            "generator": name,
            "n": n,
            "accuracy": right / n,
            **dict(zip(("low", "high"), wilson(right, n), strict=True)),
        }
        for name, n, right in zip(
            counted.index, map(int, counted["size"]), map(float, counted["sum"]), strict=True
        )
    ]
    return pd.DataFrame(rows, columns=["generator", "n", "accuracy", "low", "high"])


def _worst_generator(generators: pd.DataFrame) -> dict[str, object]:
    if len(generators) < 2:
        return {}
    row = generators.sort_values("accuracy", kind="stable").iloc[0]
    return {"worst_generator": row["generator"]} | {
        f"worst_generator_{name}": float(row[name]) for name in ("accuracy", "low", "high")
    }


def _scores(table: pd.DataFrame) -> dict[str, object]:
    """Compute every metric of :data:`MATRIX_METRICS` that compares logits with labels."""
    labels = table["label"]
    logits = table["logit"]
    found: dict[str, object] = {}
    for metric in MATRIX_METRICS:
        if metric.score is not None:
            found[metric.name] = metric.score(labels, logits)
        if metric.score_interval is not None and metric.interval is not None:
            ends = metric.score_interval(labels, logits)
            found |= dict(zip(metric.interval, ends, strict=True))
    return found


def _at_frozen(table: pd.DataFrame, frozen: FrozenThresholds) -> dict[str, object]:
    """Return the shares of fakes and of reals above the frozen thresholds."""
    found: dict[str, object] = {"frozen_reals": frozen.reals}
    for name, threshold in frozen.at.items():
        above = table["logit"] > threshold
        for rate, label in (("tpr", 1), ("fpr", 0)):
            share = float(above[table["label"] == label].mean())
            found[f"{rate}_frozen_{name}"] = math.nan if math.isnan(threshold) else share
    return found
