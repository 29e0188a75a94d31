"""The matrix as the page's heat map gets it: a text, a shade and what hovering shows, for each cell
and metric.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from pydantic import BaseModel

from robustbench_aigi.attacks.suites import SURROGATE_SEPARATOR
from robustbench_aigi.evaluation.cells import read_times
from robustbench_aigi.evaluation.columns import MATRIX_METRICS, METRICS_BY_NAME, MetricSpec
from robustbench_aigi.outcomes import CellStatus
from robustbench_aigi.report.run_results import RunFolder, RunResults
from robustbench_aigi.report.tables import absence

SHOWN_DIRECTIONS = ("both", "evasion", "framing")
MODE_ORDER = ("clean", "static", "white-box", "transfer")
Pair = tuple[str, str]
"""Mode and attack, a column of the heat map."""
Row = Mapping[Any, Any]
"""A row of the matrix; empty where there is none."""


class HeatCell(BaseModel, frozen=True):
    """A cell of the heat map; the page's script reads the fields by these names.

    Attributes:
        text: what stands in the cell: the value in percent, or the word for a missing one.
        shade: from 0, no better than guessing, to 1; None where there is no value.
        interval: 95% interval in percent, such as ``12.3 to 45.6``.
        images: number of images that the value is taken over.
        worst_generator: whose images are recognised least.
        flags: kinds of the adequacy flags that speak against the value.
        seconds: time that the cell took.
        reason: why the value is missing, incomplete or of another attack; may be empty.
        is_seen: whether the detector met attacks of this kind in training.
    """

    text: str
    shade: float | None = None
    interval: str | None = None
    images: int | None = None
    worst_generator: str | None = None
    flags: str | None = None
    seconds: float | None = None
    reason: str = ""
    is_seen: bool = False


class HeatColumn(BaseModel, frozen=True):
    """A column of the heat map.

    Attributes:
        mode: of the attack.
        attack: its name in the matrix.
        about: its parameters, and what the shared images were made on; may be empty.
    """

    mode: str
    attack: str
    about: str


class HeatMap(BaseModel, frozen=True):
    """What the page's script draws.

    Attributes:
        detectors: names, one per row.
        columns: clean first, then static, white-box and transfer.
        metrics: name to title of every metric that has a value.
        cells: rows of cells by metric and direction.
    """

    detectors: list[str]
    columns: list[HeatColumn]
    metrics: dict[str, str]
    cells: dict[str, dict[str, list[list[HeatCell]]]]

    def dump(self) -> dict[str, Any]:
        """Return plain values for JSON, without fields that say nothing."""
        return self.model_dump(exclude_defaults=True)


def heatmap(finished: RunResults) -> HeatMap:
    """Return the heat map of a run's matrix.

    Args:
        finished: of one run or several.
    """
    matrix = finished.matrix
    there = matrix[matrix["attack"].notna()]
    pairs = sorted(
        dict.fromkeys(zip(there["mode"], there["attack"], strict=True)),
        key=lambda pair: MODE_ORDER.index(pair[0]),
    )
    names = [str(name) for name in dict.fromkeys(matrix["detector"])]
    finder = _CellFinder(finished, pairs)
    shown = [
        metric for metric in MATRIX_METRICS if metric.title and there[metric.name].notna().any()
    ]
    cells = {
        metric.name: {
            direction: [
                [finder.cell(name, pair, direction, metric) for pair in pairs] for name in names
            ]
            for direction in SHOWN_DIRECTIONS
        }
        for metric in shown or [METRICS_BY_NAME["accuracy"]]
    }
    titles = {name: METRICS_BY_NAME[name].title for name in cells}
    columns = _columns(pairs, finished.facts.get("suite", {}).get("attacks", []))
    return HeatMap(detectors=names, columns=columns, metrics=titles, cells=cells)


def shade(metric: MetricSpec, value: float) -> float:
    """Return how good a value is: 0 for no better than guessing (red), 1 for the best (green).

    Args:
        metric: which metric.
        value: its value; one beyond the range of colours has the colour of that end.

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
    return round(min(1.0, max(0.0, (good - chance) / (1 - chance))), 3)


class _CellFinder:
    """Finds the row of the matrix, the time and the status of each cell."""

    def __init__(self, finished: RunResults, pairs: list[Pair]) -> None:
        matrix = finished.matrix
        whole = matrix[matrix["attack"].isna()]
        self._unavailable = dict(zip(whole["detector"], whole["status"], strict=True))
        self._seconds = {
            key: spent for run in finished.runs for key, spent in _seconds(run, pairs).items()
        }
        self._rows: dict[tuple[Any, ...], Row] = {
            (
                row["detector"],
                row["mode"],
                row["attack"],
                None if pd.isna(row["direction"]) else row["direction"],
            ): row
            for row in matrix[matrix["attack"].notna()].to_dict("records")
        }

    def cell(self, detector: str, pair: Pair, direction: str, metric: MetricSpec) -> HeatCell:
        """Return a cell; a row without a direction, which has no number, stands for all three."""
        key = (detector, *pair)
        row = self._rows.get((*key, direction), self._rows.get((*key, None), {}))
        if not row or pd.isna(row[metric.name]):
            unavailable = self._unavailable.get(detector, "not part of this run")
            return _empty_cell(str(row.get("status", unavailable)))
        return _value_cell(row, metric, self._seconds.get(key))


def _empty_cell(status: str) -> HeatCell:
    text = absence(pd.Series({"status": status}))
    return HeatCell(text=text, reason="" if status == CellStatus.OK else status)


def _value_cell(row: Row, metric: MetricSpec, seconds: float | None) -> HeatCell:
    value = float(row[metric.name])
    images = row["n_correct_before"] if metric.name == "success_rate" else row["n"]
    is_of_generator = metric.name == "worst_generator_accuracy"
    return HeatCell(
        text=metric.text(value),
        shade=shade(metric, value),
        interval=_interval(row, metric),
        images=None if is_of_generator else int(images),
        worst_generator=str(row["worst_generator"]) if is_of_generator else None,
        flags=None if pd.isna(row["flags"]) else str(row["flags"]),
        seconds=None if seconds is None else round(seconds, 1),
        reason=_reason(row),
        is_seen=bool(pd.notna(row["seen"]) and row["seen"]),
    )


def _interval(row: Row, metric: MetricSpec) -> str | None:
    if metric.interval is None or any(pd.isna(row[end]) for end in metric.interval):
        return None
    return " to ".join(metric.text(float(row[end])) for end in metric.interval)


def _reason(row: Row) -> str:
    """Return why a value is of another attack, or incomplete."""
    if pd.notna(row["replaced_by"]):
        return f"by {row['replaced_by']}, because the scores are coarse"
    return "" if row["status"] == CellStatus.OK else str(row["status"])


def _columns(pairs: list[Pair], suite_rows: Sequence[Mapping[str, Any]]) -> list[HeatColumn]:
    about = {row["id"]: _strength(row) for row in suite_rows}
    return [
        HeatColumn(
            mode=mode,
            attack=attack,
            about=about.get(attack.partition(SURROGATE_SEPARATOR)[0], ""),
        )
        for mode, attack in pairs
    ]


def _strength(row: Mapping[str, Any]) -> str:
    numbers = ", ".join(f"{name} {value}" for name, value in row.get("with", {}).items())
    given = f" ({numbers})" if numbers else ""
    made = f"; static set made on {row['surrogate']}" if row.get("surrogate") else ""
    return f"{row['attack']}{given}{made}"


def _seconds(run: RunFolder, pairs: list[Pair]) -> dict[tuple[str, str, str], float]:
    """Return how long each cell of a run took, where it says so."""
    spent: dict[tuple[str, str, str], float] = {}
    for folder in sorted((run.folder / "cells").glob("*")):
        for mode, attack in pairs:
            if times := read_times(folder / f"{mode}-{attack}"):
                spent[run.called(folder.name), mode, attack] = sum(times.values())
    return spent
