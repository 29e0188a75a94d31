"""The release gate: a policy's rules held against a finished run."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Self

import pandas as pd
from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from robustbench_aigi import catalogue
from robustbench_aigi.config.units import ANY_SHARE, PASSES_PER_IMAGE, Number
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.evaluation.columns import METRICS, METRICS_BY_NAME
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.report.compare import compare
from robustbench_aigi.report.run_results import RunResults, read_runs

GATED_METRICS = tuple(metric.name for metric in METRICS if metric.can_be_gated)
Verdict = Literal["pass", "fail", "undecided"]
EXIT_CODES: Mapping[Verdict, int] = {"pass": 0, "fail": 1, "undecided": 3}
"""Verdict to what the command ends with; 2 stands for a request that cannot be met, such as a typo
in the policy.
"""


class Bound(BaseModel, frozen=True, extra="forbid"):
    """A number of the matrix that must not be too low, or too high.

    Attributes:
        metric: a column of the matrix. attack, mode, direction: its row.
        at_least, at_most: one of them.
        bound: what is held against it: the value, or the worse end of its 95% interval.
        detector: whose; every detector's if None.
    """

    metric: str
    attack: str
    mode: Literal["clean", "static", "transfer", "white-box"]
    direction: Literal["evasion", "framing", "both"] = "both"
    at_least: Number | None = None
    at_most: Number | None = None
    bound: Literal["value", "worse"] = "value"
    detector: str | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("write at_least or at_most, one of them")
        if self.metric not in GATED_METRICS:
            hint = _near(self.metric, GATED_METRICS)
            raise ValueError(f"no metric called {self.metric!r}. {hint}")
        limit = self.at_most if self.at_least is None else self.at_least
        metric = METRICS_BY_NAME[self.metric]
        unit = PASSES_PER_IMAGE if metric.unit == "passes" else ANY_SHARE
        unit.read(limit, self.metric, f"a bound on {self.metric} wants")
        if self.bound == "worse" and metric.interval is None:
            raise ValueError(f"{self.metric} has no interval in the matrix; write bound = 'value'")
        return self

    def __str__(self) -> str:
        limit = (
            f"at least {self.at_least:g}"
            if self.at_least is not None
            else f"at most {self.at_most:g}"
        )
        end = ", worse end of its interval" if self.bound == "worse" else ""
        way = "" if self.direction == "both" else f", {self.direction}"
        cell = "clean" if self.mode == "clean" else f"{self.attack}, {self.mode}"
        return f"{self.metric} on {cell}{way}: {limit}{end}"


class Absence(BaseModel, frozen=True, extra="forbid"):
    """What must not be: an adequacy flag, a missing or failed cell, or a regression against a base
    run.

    Attributes:
        p: significance of a regression, after Holm's correction.
    """

    no: Literal["flags", "missing", "regression"]
    p: float = Field(0.01, gt=0, lt=1)
    detector: str | None = None

    def __str__(self) -> str:
        return f"no {self.no}" + (f" at p < {self.p:g}" if self.no == "regression" else "")


def _kind_of_rule(given: object) -> str:
    """Which of the two kinds a rule is to be; so its faults speak of that kind alone."""
    absence = "no" in given if isinstance(given, Mapping) else isinstance(given, Absence)
    return (Absence if absence else Bound).__name__


Rule = Annotated[
    Annotated[Bound, Tag("Bound")] | Annotated[Absence, Tag("Absence")],
    Discriminator(_kind_of_rule),
]


class Policy(BaseModel, frozen=True, extra="forbid"):
    """Rules that a release must pass, all of them for every detector."""

    name: str
    version: int = Field(ge=1)
    about: str = ""
    rules: tuple[Rule, ...] = Field(min_length=1)

    def attacks(self) -> set[str]:
        """What its bounds are on."""
        return {rule.attack for rule in self.rules if isinstance(rule, Bound)}


class Judgement(NamedTuple):
    """What a rule says of a detector, and the number it says it by."""

    rule: str
    detector: str
    verdict: Verdict
    evidence: str


def load_policy(name: str) -> Policy:
    """Read a policy by name or path. Raises ``UnknownNameError`` or ``ConfigError``."""
    return catalogue.read("policies", name, Policy)


def judge(policy: Policy, finished: RunResults, base: Path | None = None) -> list[Judgement]:
    """Hold every rule against every detector.

    A number that a flag speaks against can fail a rule, because a better attack only makes it
    worse. It cannot pass.

    Raises:
        ConfigError: a rule names an attack or a detector that the run does not have. DataError: see
            :func:`compare`.
    """
    matrix = finished.matrix
    names = [str(name) for name in dict.fromkeys(matrix["detector"])]
    found: list[Judgement] = []
    for rule in policy.rules:
        if rule.detector is not None and rule.detector not in names:
            raise ConfigError(
                f"policy {policy.name}: no detector called {rule.detector!r}."
                f" {_near(rule.detector, names)}"
            )
        if isinstance(rule, Bound):
            attacks = [str(name) for name in matrix["attack"].dropna().unique()]
            if rule.attack not in attacks:
                raise ConfigError(
                    f"policy {policy.name}: no attack called {rule.attack!r}."
                    f" {_near(rule.attack, attacks)}"
                )
        changes = None
        if isinstance(rule, Absence) and rule.no == "regression" and base is not None:
            changes = compare(finished, read_runs([base]), rule.p)
        for name in names if rule.detector is None else [rule.detector]:
            if isinstance(rule, Bound):
                found.append(_bounded(rule, name, matrix))
            else:
                found += _absent(rule, name, finished, changes)
    return found


def verdict(judgements: Sequence[Judgement]) -> Verdict:
    """Of all rules: one that fails decides, then one that cannot be judged."""
    given = {judgement.verdict for judgement in judgements}
    return "fail" if "fail" in given else "undecided" if "undecided" in given else "pass"


def _bounded(rule: Bound, name: str, matrix: MatrixFrame) -> Judgement:
    rows = matrix[
        (matrix["detector"] == name)
        & (matrix["attack"] == rule.attack)
        & (matrix["mode"] == rule.mode)
        & (matrix["direction"].isna() | (matrix["direction"] == rule.direction))
    ]
    if rows.empty:
        why = matrix.loc[matrix["detector"] == name, "status"].iloc[0]
        return Judgement(
            str(rule), name, "undecided", f"no such cell ({why})" if why != "ok" else "no such cell"
        )
    row = rows.iloc[0]
    value = row[rule.metric]
    if pd.isna(value):
        return Judgement(
            str(rule),
            name,
            "undecided",
            str(row["status"]) if row["status"] != "ok" else "no number",
        )
    shown, held = f"{value:.4f}", float(value)
    interval = METRICS_BY_NAME[rule.metric].interval
    if interval is not None:
        low, high = (float(row[column]) for column in interval)
        shown += f" [{low:.4f}, {high:.4f}]"
        if rule.bound == "worse":
            held = low if rule.at_least is not None else high
    good = held >= rule.at_least if rule.at_least is not None else held <= float(rule.at_most or 0)
    doubts = [str(row["flags"])] if pd.notna(row["flags"]) else []
    doubts += [str(row["status"])] if row["status"] != "ok" else []
    if good and doubts:
        return Judgement(str(rule), name, "undecided", f"{shown}, but {'; '.join(doubts)}")
    return Judgement(str(rule), name, "pass" if good else "fail", shown)


def _absent(
    rule: Absence, name: str, finished: RunResults, changes: pd.DataFrame | None
) -> Iterator[Judgement]:
    matrix, flags = finished.matrix, finished.flags
    if rule.no == "missing":
        rows = matrix[(matrix["detector"] == name) & (matrix["status"] != "ok")]
        reasons = [str(status) for status in rows["status"].unique()]
        yield Judgement(
            str(rule),
            name,
            "fail" if reasons else "pass",
            "; ".join(reasons) or "every cell is there",
        )
    elif rule.no == "flags":
        if flags is None:
            yield Judgement(
                str(rule), name, "undecided", "not looked for: the run was stopped before its end"
            )
            return
        own = sorted(
            {f"{flag.kind} ({flag.attack or 'all'})" for flag in flags if flag.detector == name}
        )
        yield Judgement(str(rule), name, "fail" if own else "pass", ", ".join(own) or "none")
    elif changes is None:
        yield Judgement(str(rule), name, "undecided", "no base to compare with: --base RUN")
    else:
        worse = changes[(changes["detector"] == name) & (changes["verdict"] == "regression")]
        gone = changes[(changes["detector"] == name) & (changes["verdict"] == "gone")]
        lines = [_regression(row) for row in worse.to_dict("records")]
        if lines or gone.empty:
            yield Judgement(
                str(rule), name, "fail" if lines else "pass", "; ".join(lines) or "none"
            )
        else:
            yield Judgement(
                str(rule),
                name,
                "undecided",
                f"cells of the base that are not in this run: {len(gone)}",
            )


def _regression(row: Mapping[Any, Any]) -> str:
    return (
        f"{row['attack']} {row['mode']} {row['direction']}: {100 * row['accuracy_before']:.1f} to "
        f"{100 * row['accuracy']:.1f}% (p = {row['p_holm']:.2g})"
    )


def _near(got: str, known: Sequence[str]) -> str:
    near = get_close_matches(got, known, n=3)
    return f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}."
