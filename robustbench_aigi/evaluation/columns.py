"""Columns of the matrix: one list of metrics for computing, schema, gate and heat map.

To add a metric that compares logits with labels, add one :class:`MetricSpec` with a ``score`` to
:data:`MATRIX_METRICS`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import pandas as pd
from sklearn.metrics import average_precision_score

from robustbench_aigi.evaluation.scores import (
    auc,
    auc_interval,
    brier_score,
    calibration_error,
    equal_error_rate,
)

Score = Callable[["pd.Series[int]", "pd.Series[float]"], float]
"""Labels and logits of a cell to one number."""
Interval = Callable[["pd.Series[int]", "pd.Series[float]"], tuple[float, float]]
FROZEN_RATES: Mapping[str, float] = MappingProxyType({"01": 0.001, "1": 0.01, "5": 0.05})
"""Ending of a column to the false-positive rate on clean reals at which its threshold is frozen."""


@dataclass(frozen=True)
class Column:
    """A column of the matrix.

    Attributes:
        name: as in ``matrix.csv`` and ``matrix.json``.
        kind: of its values; all but the first five columns may be empty.
        about: one phrase for the schema.
        choices: the values it may have, if they are few.
    """

    name: str
    kind: type[str | float | int | bool]
    about: str = ""
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetricSpec:
    """A metric of the matrix: its column, the columns that go with it, and how it is shown.

    Attributes:
        name: its column.
        title: heading on the page, with the unit; empty keeps it out of the heat map.
        about: one phrase for the schema.
        count: column in front of it that says what it is taken over; None if that is ``n``.
        interval: columns of its 95% interval, if it has one.
        unit: ``share`` in [0, 1], shown in percent; ``passes`` per image; or ``number``, of any
            range, shown as it is.
        chance: what guessing reaches, the bad end of the heat map's colours. The good end is 1, or
            0 where a higher value is worse.
        is_bad_when_high: whether a higher value is worse for the detector.
        can_be_gated: whether a policy may set a bound on it.
        score: computes it from labels and logits, where every image was scored or attacked at full
            strength; None for metrics that ``evaluation.metrics`` computes from verdicts.
        score_interval: computes its interval likewise.
    """

    name: str
    title: str = ""
    about: str = ""
    count: Column | None = None
    interval: tuple[str, str] | None = None
    unit: Literal["share", "passes", "number"] = "share"
    chance: float = 0.5
    is_bad_when_high: bool = False
    can_be_gated: bool = True
    score: Score | None = None
    score_interval: Interval | None = None

    def text(self, value: float) -> str:
        """Return a value as the heat map shows it.

        Args:
            value: of the metric.

        Example:
            >>> MetricSpec(name="share").text(0.5), MetricSpec(name="any", unit="number").text(-0.5)
            ('50.0', '-0.500')
        """
        return f"{100 * value:.1f}" if self.unit == "share" else f"{value:.3f}"

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns of the metric, in the order of the matrix."""
        before = () if self.count is None else (self.count,)
        ends = tuple(Column(name, float) for name in self.interval or ())
        return (*before, Column(self.name, float, self.about), *ends)

    @property
    def companions(self) -> tuple[str, ...]:
        """Columns that cannot be empty where the metric has a value.

        A bootstrap interval may be undefined; one of a proportion never is.
        """
        return () if self.count is None else (self.count.name, *(self.interval or ()))


def _at_frozen_thresholds(rate: Literal["tpr", "fpr"]) -> list[MetricSpec]:
    """Return the metrics at the thresholds of :data:`FROZEN_RATES`."""
    specs = []
    for ending, share in FROZEN_RATES.items():
        percent = f"{100 * share:g}%"
        subject = "fakes"
        title = f"TPR at {percent} FPR on clean reals, %"
        if rate == "fpr":
            subject = "reals"
            title = f"FPR at the threshold of {percent} on clean reals, %"
        specs.append(
            MetricSpec(
                name=f"{rate}_frozen_{ending}",
                title=title,
                about=f"{subject} above the threshold of {percent} false positives on clean reals",
                chance=share if rate == "tpr" else 0.5,
                is_bad_when_high=rate == "fpr",
            )
        )
    return specs


def _average_precision(labels: "pd.Series[int]", logits: "pd.Series[float]") -> float:
    return float(average_precision_score(labels, logits))


MATRIX_METRICS = (
    MetricSpec(
        name="accuracy",
        title="Accuracy, %",
        count=Column("n", int),
        interval=("low", "high"),
    ),
    MetricSpec(name="balanced_accuracy", title="Balanced accuracy, %"),
    MetricSpec(
        name="success_rate",
        title="Attack success, %",
        about="share fooled of those that were right on the clean image",
        count=Column("n_correct_before", int),
        interval=("success_low", "success_high"),
        is_bad_when_high=True,
    ),
    MetricSpec(
        name="auc",
        title="AUC, %",
        about="with a bootstrap interval",
        interval=("auc_low", "auc_high"),
        score=auc,
        score_interval=auc_interval,
    ),
    MetricSpec(name="ap", title="Average precision, %", score=_average_precision),
    *_at_frozen_thresholds("tpr"),
    *_at_frozen_thresholds("fpr"),
    MetricSpec(
        name="calibration_error",
        title="Calibration error, %",
        about="expected calibration error of sigmoid(logit), 15 bins",
        is_bad_when_high=True,
        score=calibration_error,
    ),
    MetricSpec(
        name="brier_score",
        title="Brier score, %",
        about="mean squared error of sigmoid(logit)",
        chance=0.25,
        is_bad_when_high=True,
        score=brier_score,
    ),
    MetricSpec(
        name="equal_error_rate",
        title="Equal error rate, %",
        about="error at the threshold where both classes have the same",
        is_bad_when_high=True,
        score=equal_error_rate,
    ),
    MetricSpec(
        name="worst_generator_accuracy",
        title="Worst generator recognised, %",
        count=Column("worst_generator", str, "evasion rows: whose images are recognised least"),
        interval=("worst_generator_low", "worst_generator_high"),
    ),
    MetricSpec(
        name="majority_accuracy",
        title="Accuracy of a majority of draws, %",
        about="of the majority of these draws; accuracy is of one draw",
        count=Column(
            "draws", int, "scores drawn of each final image; 1 unless the detector is random"
        ),
        interval=("majority_low", "majority_high"),
    ),
    MetricSpec(
        name="kept_accuracy",
        about="what the attack itself saw, the luckiest draws of its search",
        can_be_gated=False,
    ),
    MetricSpec(name="mean_forwards", unit="passes"),
    MetricSpec(name="mean_backwards", unit="passes"),
)
"""All metrics, in the order of their columns."""
METRICS_BY_NAME: Mapping[str, MetricSpec] = MappingProxyType({m.name: m for m in MATRIX_METRICS})


def _metric_columns() -> Iterator[Column]:
    for metric in MATRIX_METRICS:
        yield from metric.columns
        if metric.name == "fpr_frozen_5":
            yield Column("frozen_reals", int, "clean reals that these thresholds were fixed on")


MATRIX_COLUMNS = (
    Column("detector", str),
    Column("mode", str, choices=("clean", "static", "transfer", "white-box")),
    Column("attack", str),
    Column("direction", str, choices=("evasion", "framing", "both")),
    Column("status", str, "ok, or the reason why numbers are missing or incomplete"),
    *_metric_columns(),
    Column("replaced_by", str, "attack by verdicts that replaced one by coarse scores"),
    Column("flags", str, "kinds of the adequacy flags, joined by commas"),
    Column("seen", bool, "whether the detector met an attack of this kind in training"),
)
COLUMN_NAMES = tuple(column.name for column in MATRIX_COLUMNS)
_PANDAS_TYPES = {int: "Int64", bool: "boolean"}
COLUMN_TYPES = {c.name: _PANDAS_TYPES[c.kind] for c in MATRIX_COLUMNS if c.kind in _PANDAS_TYPES}
"""pandas types of the columns that may be empty and are no floats."""
