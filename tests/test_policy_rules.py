"""Kinds of policy rules: a contract over all that are registered, and rules of other packages."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal, final, get_args

import pandas as pd
import pytest
from pydantic import ValidationError

from robustbench_aigi.errors import ConfigError, DataError
from robustbench_aigi.evaluation.columns import COLUMN_NAMES, METRICS_BY_NAME
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.report import RunResults
from robustbench_aigi.report.gate import Policy, judge, load_policy
from robustbench_aigi.report.rules import (
    JudgedRun,
    Judgement,
    PolicyRule,
    Verdict,
    policy_rules,
)

BOUND = {"metric": "accuracy", "attack": "clean", "mode": "clean", "at_least": 0.5}
EXAMPLES: Mapping[str, dict[str, Any]] = {
    "bound": BOUND,
    "no-regression": {"no": "regression", "p": 0.05},
}
"""A rule of each kind that has keys of its own, as a policy writes it."""


@final
class NoLoss(PolicyRule):
    """Every image is classified correctly: a rule of another package."""

    no: Literal["loss"] = "loss"
    slack: float = 0.0

    def __str__(self) -> str:
        return "no loss"

    def judge(self, detector: str, run: JudgedRun) -> Judgement:
        own = run.results.matrix.query("detector == @detector")
        worst = float(own["accuracy"].min())
        return self.judged(detector, "pass" if worst + self.slack >= 1 else "fail", f"{worst:g}")


def results(accuracy: float = 0.75) -> RunResults:
    row = {"detector": "mine", "mode": "clean", "attack": "clean", "direction": "both", "n": 4}
    numbers = {"status": "ok", "accuracy": accuracy, "low": 0.3, "high": 0.9}
    return RunResults(MatrixFrame(pd.DataFrame([row | numbers], columns=list(COLUMN_NAMES))))


def policy(**rule: Any) -> Policy:
    return Policy.model_validate({"name": "test", "version": 1, "rules": [rule]})


def written(folder: Path, rule: str) -> str:
    path = folder / "mine.toml"
    path.write_text(f'name = "mine"\nversion = 1\n[[rules]]\n{rule}\n')
    return str(path)


def example(name: str) -> dict[str, Any]:
    """A rule of a kind; one called ``no-NAME`` needs no other key than ``no``."""
    if name.startswith("no-"):
        return EXAMPLES.get(name, {"no": name.removeprefix("no-")})
    assert name in EXAMPLES, f"add a rule of the kind {name} to EXAMPLES"
    return EXAMPLES[name]


@pytest.mark.parametrize("name", policy_rules.names())
def test_a_kind_keeps_its_contract(name: str) -> None:
    (rule,) = policy(**example(name)).rules
    assert type(rule) is policy_rules.get(name)
    assert policy(kind=name, **example(name)).rules == (rule.model_copy(update={"kind": name}),)
    dumped = policy(**example(name)).model_dump()
    assert Policy.model_validate(dumped).rules == (rule,)
    assert rule.attacks() <= {"clean"}
    judgement = rule.judge("mine", JudgedRun(results()))
    assert judgement == (str(rule), "mine", judgement.verdict, judgement.evidence)
    assert judgement.rule
    assert judgement.evidence
    assert judgement.verdict in get_args(Verdict)


def test_a_rule_of_another_module_is_named_by_its_address(tmp_path: Path) -> None:
    address = f"{__name__}:NoLoss"
    mine = load_policy(written(tmp_path, f'kind = "{address}"\nslack = 0.25'))
    assert judge(mine, results(0.75)) == [Judgement("no loss", "mine", "pass", "0.75")]
    assert judge(mine, results(0.5))[0].verdict == "fail"
    with pytest.raises(ConfigError, match=r"rules\.0\.slak: not a key here; did you mean slack\?"):
        load_policy(written(tmp_path, f'kind = "{address}"\nslak = 0.25'))


def test_a_rule_of_an_entry_point_reads_like_those_that_ship(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group = "robustbench_aigi.report.rules"
    theirs = EntryPoint("no-loss", f"{__name__}:NoLoss", group)
    shipped = policy_rules.names()
    monkeypatch.setattr(policy_rules, "_classes", {n: policy_rules.get(n) for n in shipped})
    monkeypatch.setattr(policy_rules, "_loaded", False)
    monkeypatch.setattr(
        "robustbench_aigi.registry.entry_points", lambda group: [theirs] if group else []
    )
    assert policy_rules.names() == sorted([*shipped, "no-loss"])
    assert isinstance(policy(no="loss").rules[0], NoLoss)
    assert isinstance(policy(kind="no-loss").rules[0], NoLoss)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('no = "flag"', r"rules\.0\.no: .*'flags', .* or '.*', got 'flag'; did you mean flags"),
        ('kind = "bond"', r"rules\.0\.kind: no policy rule called 'bond'\. Did you mean bound\?"),
        ('kind = "zzz"', rf"Known: {', '.join(policy_rules.names())}\..*list rules"),
        ('kind = "no_module:Rule"', r"rules\.0\.kind: no policy rule at 'no_module:Rule'"),
        ('kind = "pathlib:Path"', r"rules\.0\.kind: pathlib:Path is no subclass of PolicyRule"),
        ('no = "missing"\nmetric = "accuracy"', r"rules\.0\.metric: not a key here; keys are"),
        ("no = [1]", r"rules\.0\.no: expected one of .*'flags'"),
    ],
)
def test_a_rule_of_an_unknown_kind_is_rejected(rule: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        load_policy(written(tmp_path, rule))


def test_a_kind_that_cannot_be_imported_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy_rules, "_broken", {"no-loss (theirs:NoLoss)": "ImportError: gone"})
    with pytest.raises(ConfigError, match=r"no-loss \(theirs:NoLoss\) failed to import"):
        load_policy(written(tmp_path, 'no = "loss"'))


def test_a_base_run_is_compared_once_and_only_if_a_rule_asks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[float] = []
    empty = pd.DataFrame(columns=["detector", "verdict"])

    def compare(run: RunResults, base: RunResults, significance: float) -> pd.DataFrame:
        asked.append(significance)
        return empty

    monkeypatch.setattr("robustbench_aigi.report.rules.base.read_runs", lambda folders: results())
    monkeypatch.setattr("robustbench_aigi.report.rules.base.compare", compare)
    run = JudgedRun(results(), tmp_path)
    for name in ("mine", "other"):
        assert policy(no="regression").rules[0].judge(name, run).verdict == "pass"
    assert asked == [0.01]
    monkeypatch.undo()
    assert judge(policy(no="missing"), results(), tmp_path / "no-run")[0].verdict == "pass"
    with pytest.raises(DataError, match="no-run"):
        judge(policy(no="regression"), results(), tmp_path / "no-run")


@pytest.mark.parametrize("limit", [-0.5, 2.5])
def test_a_limit_has_the_range_of_its_metric(limit: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match=r"a bound on accuracy wants 0 to 1, got"):
        policy(**BOUND | {"at_least": limit})
    any_number = replace(METRICS_BY_NAME["accuracy"], unit="number")
    monkeypatch.setattr(
        "robustbench_aigi.report.rules.bound.METRICS_BY_NAME",
        {**METRICS_BY_NAME, "accuracy": any_number},
    )
    assert str(policy(**BOUND | {"at_least": limit}).rules[0]).endswith(f"at least {limit:g}")
