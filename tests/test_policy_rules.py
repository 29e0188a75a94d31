"""Kinds of policy rules: a contract over all that are registered, and rules of other packages."""

from collections.abc import Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal, final, get_args

import pandas as pd
import pytest

from robustbench_aigi.errors import ConfigError, DataError
from robustbench_aigi.evaluation.columns import COLUMN_NAMES
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
    "no-flags": {"no": "flags"},
    "no-missing": {"no": "missing"},
    "no-regression": {"no": "regression", "p": 0.05},
}
"""A rule of each kind, as a policy writes it."""


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


def test_every_kind_has_an_example_here() -> None:
    assert list(EXAMPLES) == policy_rules.names()


@pytest.mark.parametrize("name", policy_rules.names())
def test_a_kind_keeps_its_contract(name: str) -> None:
    (rule,) = policy(**EXAMPLES[name]).rules
    assert type(rule) is policy_rules.get(name)
    assert policy(kind=name, **EXAMPLES[name]).rules == (rule.model_copy(update={"kind": name}),)
    dumped = policy(**EXAMPLES[name]).model_dump()
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
    monkeypatch.setattr(policy_rules, "_classes", {n: policy_rules.get(n) for n in EXAMPLES})
    monkeypatch.setattr(policy_rules, "_loaded", False)
    monkeypatch.setattr(
        "robustbench_aigi.registry.entry_points", lambda group: [theirs] if group else []
    )
    assert policy_rules.names() == sorted([*EXAMPLES, "no-loss"])
    assert isinstance(policy(no="loss").rules[0], NoLoss)
    assert isinstance(policy(kind="no-loss").rules[0], NoLoss)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ('no = "flag"', r"rules\.0\.no: .*'flags', 'missing' or 'regression', got 'flag'; did you"),
        ('kind = "bond"', r"rules\.0\.kind: no policy rule called 'bond'\. Did you mean bound\?"),
        ('kind = "zzz"', r"Known: bound, no-flags, no-missing, no-regression\..*list rules"),
        ('kind = "no_module:Rule"', r"rules\.0\.kind: no policy rule at 'no_module:Rule'"),
        ('kind = "pathlib:Path"', r"rules\.0\.kind: pathlib:Path is no subclass of PolicyRule"),
        ('no = "missing"\nmetric = "accuracy"', r"rules\.0\.metric: not a key here; keys are"),
        ("no = [1]", r"rules\.0\.no: expected one of 'flags'"),
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
