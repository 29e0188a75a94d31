"""The rule that bounds a number of the matrix."""

from typing import Any, Literal, Self, final

import pandas as pd
from pydantic import model_validator

from robustbench_aigi.config.units import ANY_NUMBER, ANY_SHARE, PASSES_PER_IMAGE, Number
from robustbench_aigi.evaluation.columns import MATRIX_METRICS, METRICS_BY_NAME
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.outcomes import CellStatus
from robustbench_aigi.registry import near_names
from robustbench_aigi.report.rules.base import JudgedRun, Judgement, PolicyRule, policy_rules

GATED_METRICS = tuple(metric.name for metric in MATRIX_METRICS if metric.can_be_gated)
LIMIT_UNITS = {"share": ANY_SHARE, "passes": PASSES_PER_IMAGE, "number": ANY_NUMBER}
"""Unit of a metric to the range of a limit on it."""


@policy_rules.add("bound")
@final
class Bound(PolicyRule):
    """A number of the matrix that must not be too low, or too high.

    Attributes:
        metric: a column of the matrix.
        attack: ``clean``, ``worst-case``, or the id of a row of the suite.
        mode: of the row.
        direction: of the row.
        at_least: lowest number that passes.
        at_most: highest number that passes; a rule has one of the two.
        bound: what is compared: the value, or the worse end of its 95% interval.
    """

    metric: str
    attack: str
    mode: Literal["clean", "static", "transfer", "white-box"]
    direction: Literal["evasion", "framing", "both"] = "both"
    at_least: Number | None = None
    at_most: Number | None = None
    bound: Literal["value", "worse"] = "value"

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("write at_least or at_most, one of them")
        if self.metric not in GATED_METRICS:
            hint = near_names(self.metric, GATED_METRICS)
            raise ValueError(f"no metric called {self.metric!r}. {hint}")
        limit = self.at_most if self.at_least is None else self.at_least
        metric = METRICS_BY_NAME[self.metric]
        LIMIT_UNITS[metric.unit].read(limit, self.metric, f"a bound on {self.metric} wants")
        if self.bound == "worse" and metric.interval is None:
            raise ValueError(f"{self.metric} has no interval in the matrix; write bound = 'value'")
        return self

    def __str__(self) -> str:
        limit = f"at most {self.at_most:g}" if self.at_most is not None else ""
        if self.at_least is not None:
            limit = f"at least {self.at_least:g}"
        end = ", worse end of its interval" if self.bound == "worse" else ""
        way = "" if self.direction == "both" else f", {self.direction}"
        cell = "clean" if self.mode == "clean" else f"{self.attack}, {self.mode}"
        return f"{self.metric} on {cell}{way}: {limit}{end}"

    def attacks(self) -> frozenset[str]:
        """Return the one attack of the bound."""
        return frozenset({self.attack})

    def judge(self, detector: str, run: JudgedRun) -> Judgement:
        """Compare the number with the limit.

        A number that a flag speaks against can fail a rule, because a better attack only makes it
        worse. It cannot pass.
        """
        matrix = run.results.matrix
        row = self._row(detector, matrix)
        if row is None:
            why = matrix.loc[matrix["detector"] == detector, "status"].iloc[0]
            reason = "" if why == CellStatus.OK else f" ({why})"
            return self.judged(detector, "undecided", f"no such cell{reason}")
        if pd.isna(row[self.metric]):
            why = row["status"]
            reason = "no number" if why == CellStatus.OK else str(why)
            return self.judged(detector, "undecided", reason)
        shown, is_met = self._compared(row)
        doubts = _doubts(row)
        if is_met and doubts:
            return self.judged(detector, "undecided", f"{shown}, but {'; '.join(doubts)}")
        return self.judged(detector, "pass" if is_met else "fail", shown)

    def _row(self, detector: str, matrix: MatrixFrame) -> "pd.Series[Any] | None":
        rows = matrix[
            (matrix["detector"] == detector)
            & (matrix["attack"] == self.attack)
            & (matrix["mode"] == self.mode)
            & (matrix["direction"].isna() | (matrix["direction"] == self.direction))
        ]
        return None if rows.empty else rows.iloc[0]

    def _compared(self, row: "pd.Series[Any]") -> tuple[str, bool]:
        """Return the number with its interval as text, and whether it keeps the bound."""
        compared = float(row[self.metric])
        shown = f"{compared:.4f}"
        interval = METRICS_BY_NAME[self.metric].interval
        if interval is not None:
            low, high = (float(row[column]) for column in interval)
            shown += f" [{low:.4f}, {high:.4f}]"
            if self.bound == "worse":
                compared = high if self.at_least is None else low
        if self.at_least is not None:
            return shown, compared >= self.at_least
        return shown, self.at_most is None or compared <= self.at_most


def _doubts(row: "pd.Series[Any]") -> list[str]:
    """Return what speaks against a number."""
    flags = [] if pd.isna(row["flags"]) else [str(row["flags"])]
    return flags if row["status"] == CellStatus.OK else [*flags, str(row["status"])]
