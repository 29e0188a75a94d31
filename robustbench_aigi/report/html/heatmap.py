"""The matrix as the page's heat map gets it: a text, a shade and what hovering shows, for each cell
and metric.
"""

import math
from typing import Any

import pandas as pd

from robustbench_aigi.evaluation.cells import read_times
from robustbench_aigi.evaluation.columns import METRICS, METRICS_BY_NAME, MetricSpec
from robustbench_aigi.report.run_results import RunFolder, RunResults
from robustbench_aigi.report.tables import absence

WAYS = ("both", "evasion", "framing")


def heatmap(finished: RunResults) -> dict[str, Any]:
    """Return detectors, columns, and ``cells[metric][direction]`` with one row per detector."""
    matrix, facts = finished.matrix, finished.facts
    there = matrix[matrix["attack"].notna()]
    order = {"clean": 0, "static": 1, "white-box": 2, "transfer": 3}
    pairs = sorted(
        dict.fromkeys(zip(there["mode"], there["attack"], strict=True)),
        key=lambda pair: order[pair[0]],
    )
    strengths = {row["id"]: _strength(row) for row in facts.get("suite", {}).get("attacks", [])}
    names = [str(name) for name in dict.fromkeys(matrix["detector"])]
    unavailable = matrix[matrix["attack"].isna()].set_index("detector")["status"].to_dict()
    seconds = {key: own for run in finished.runs for key, own in _seconds(run, pairs).items()}
    rows = {
        (
            r["detector"],
            r["mode"],
            r["attack"],
            None if pd.isna(r["direction"]) else r["direction"],
        ): r
        for r in there.to_dict("records")
    }
    cells: dict[str, dict[str, list[list[dict[str, Any]]]]] = {}
    shown = [metric for metric in METRICS if metric.title and there[metric.name].notna().any()]
    for metric in shown or [METRICS_BY_NAME["accuracy"]]:
        cells[metric.name] = {
            way: [
                [
                    _cell(
                        rows.get((name, *pair, way), rows.get((name, *pair, None), {})),
                        metric,
                        seconds.get((name, *pair)),
                        unavailable.get(name),
                    )
                    for pair in pairs
                ]
                for name in names
            ]
            for way in WAYS
        }
    columns = [
        {"mode": mode, "attack": attack, "about": strengths.get(attack.partition(" from ")[0], "")}
        for mode, attack in pairs
    ]
    titles = {name: METRICS_BY_NAME[name].title for name in cells}
    return {"detectors": names, "columns": columns, "metrics": titles, "cells": cells}


def shade(metric: MetricSpec, value: float) -> float:
    """Return how good a value is: 0 for no better than guessing (red), 1 for the best (green).

    Args:
        metric: which metric.
        value: its value, in [0, 1].

    Example:
        >>> accuracy, success = METRICS_BY_NAME["accuracy"], METRICS_BY_NAME["success_rate"]
        >>> shade(accuracy, 0.48), shade(accuracy, 0.75), shade(success, 0.0)
        (0.0, 0.5, 1.0)
    """
    good = value
    chance = metric.chance
    if metric.is_bad_when_high:
        good = 1 - value
        chance = 1 - metric.chance
    return round(max(0.0, (good - chance) / (1 - chance)), 3)


def _cell(
    row: dict[Any, Any], metric: MetricSpec, seconds: float | None, unavailable: object
) -> dict[str, Any]:
    value = row.get(metric.name, math.nan)
    if not row or pd.isna(value):
        status = str(row.get("status", unavailable or "not part of this run"))
        return {
            "t": absence(pd.Series({"status": status})),
            "why": "" if status == "ok" else status,
        }
    share = float(value)
    cell: dict[str, Any] = {"t": f"{100 * share:.1f}", "s": shade(metric, share)}
    interval = metric.interval
    if interval is not None and all(pd.notna(row[end]) for end in interval):
        cell["i"] = " to ".join(f"{100 * float(row[end]):.1f}" for end in interval)
    cell["n"] = int(row["n_correct_before"] if metric.name == "success_rate" else row["n"])
    if metric.name == "worst_generator_accuracy":
        cell["g"] = str(row["worst_generator"])
        del cell["n"]
    if seconds is not None:
        cell["sec"] = round(seconds, 1)
    if pd.notna(row["flags"]):
        cell["f"] = str(row["flags"])
    if row["status"] != "ok":
        cell["why"] = str(row["status"])
    if pd.notna(row["replaced_by"]):
        cell["why"] = f"by {row['replaced_by']}, because the scores are coarse"
    if pd.notna(row["seen"]) and row["seen"]:
        cell["seen"] = True
    return cell


def _strength(row: dict[str, Any]) -> str:
    numbers = ", ".join(f"{name} {value}" for name, value in row.get("with", {}).items())
    made = f"; static set made on {row['surrogate']}" if row.get("surrogate") else ""
    return f"{row['attack']}{f' ({numbers})' if numbers else ''}{made}"


def _seconds(run: RunFolder, pairs: list[tuple[str, str]]) -> dict[tuple[str, str, str], float]:
    """How long each cell of a run took, where it says so."""
    spent: dict[tuple[str, str, str], float] = {}
    for folder in sorted((run.folder / "cells").glob("*")):
        for mode, attack in pairs:
            if times := read_times(folder / f"{mode}-{attack}"):
                spent[run.called(folder.name), mode, attack] = sum(times.values())
    return spent
