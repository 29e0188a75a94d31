"""From per-image tables to rows of numbers, each with n and a 95% interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigi.evaluation.columns import FROZEN_RATES, MATRIX_METRICS
from robustbench_aigi.evaluation.intervals import wilson

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
    if ranked and table["label"].nunique() == 2:
        rows[-1] |= _scores(table)
        rows[-1] |= {} if frozen is None else _at_frozen(table, frozen)
    return rows


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
    counted = shares_right(fakes).groupby(fakes["generator"].astype(str)).agg(["size", "sum"])
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


def worst_case(clean: pd.DataFrame, cells: list[pd.DataFrame]) -> pd.DataFrame:
    """Return the table of an adversary who has every attack.

    An image counts as fooled if any attack that met it fooled it. For a random detector the worst
    attack of each image is chosen by one half of the draws and judged by the other, both ways
    round: chosen and judged by the same draws, every further attack would fool more by chance.

    Args:
        clean: table of the clean cell.
        cells: tables of the attacks, each of some or all of the images.
    """
    own = [cell.set_index("id").reindex(clean["id"]) for cell in [clean, *cells]]
    met = [table["fooled"].notna() for table in own]
    table = clean.set_index("id")
    for name in ("fooled", "kept"):
        table[name] = np.logical_or.reduce([part[name].eq(True).to_numpy() for part in own])
    for name in ("forwards", "backwards"):
        table[name] = sum(part[name].fillna(0) for part in own[1:]).astype(int)  # type: ignore[union-attr]
    if int(clean["draws"].max()) == 1:
        table["wrong"] = table["fooled"].astype(int)
    else:
        table["wrong"] = _cross_fitted(own, met)
    return table.reset_index()


def _cross_fitted(
    own: Sequence[pd.DataFrame], met: Sequence["pd.Series[bool]"]
) -> NDArray[np.float64]:
    """Return the wrong draws of the worst attack on each image, chosen by the other half."""
    draws = np.stack([part["draws"].fillna(1).to_numpy(dtype=float) for part in own])
    first = np.stack([part["wrong_half"].fillna(0).to_numpy(dtype=float) for part in own])
    second = np.stack([part["wrong"].fillna(0).to_numpy(dtype=float) for part in own]) - first
    half = draws // 2
    columns = np.arange(draws.shape[1])
    shares = [first / np.maximum(half, 1), second / (draws - half)]
    reachable = np.stack([np.asarray(column, dtype=bool) for column in met])
    found = np.zeros(draws.shape[1])
    for chosen, judged, weight in (
        (shares[0], shares[1], draws - half),
        (shares[1], shares[0], half),
    ):
        worst = np.where(reachable, chosen, -1.0).argmax(axis=0)
        found += judged[worst, columns] * weight[0]
    return found
