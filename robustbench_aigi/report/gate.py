"""The release gate: all rules of a policy on a finished run."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import BaseModel, Field, SerializeAsAny

from robustbench_aigi import catalogue
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.registry import near_names
from robustbench_aigi.report.rules import JudgedRun, Judgement, PolicyRule, Verdict
from robustbench_aigi.report.run_results import RunResults

EXIT_CODES: Mapping[Verdict, int] = {"pass": 0, "fail": 1, "undecided": 3}
"""Verdict to what the command ends with; 2 stands for a request that cannot be met, such as a typo
in the policy.
"""


class Policy(BaseModel, frozen=True, extra="forbid"):
    """Rules that a release must pass, all of them for every detector.

    Attributes:
        name: of the policy.
        version: raised with every change of a rule.
        about: what a release that passes is good for.
        rules: ``[[rules]]`` in the file; see :mod:`robustbench_aigi.report.rules`.
    """

    name: str
    version: int = Field(ge=1)
    about: str = ""
    rules: tuple[SerializeAsAny[PolicyRule], ...] = Field(min_length=1)

    def attacks(self) -> set[str]:
        """Return the names of the attacks that a run must have for the rules."""
        return {attack for rule in self.rules for attack in rule.attacks()}


def load_policy(name: str) -> Policy:
    """Read a policy.

    Args:
        name: of a policy that ships, or a path such as ``./mine.toml``.

    Raises:
        UnknownNameError: there is no such policy.
        ConfigError: a rule is wrong, or of an unknown kind.
    """
    return catalogue.read("policies", name, Policy)


def judge(policy: Policy, finished: RunResults, base: Path | None = None) -> list[Judgement]:
    """Apply every rule to every detector.

    Args:
        policy: the rules.
        finished: the run.
        base: folder of the run that rules against regressions compare with.

    Raises:
        ConfigError: a rule names an attack or a detector that the run does not have.
        DataError: the base is no run, or has no image in common with this one.
    """
    run = JudgedRun(finished, base)
    attacks = [str(name) for name in finished.matrix["attack"].dropna().unique()]
    detectors = [str(name) for name in dict.fromkeys(finished.matrix["detector"])]
    found: list[Judgement] = []
    for rule in policy.rules:
        judged = detectors if rule.detector is None else [rule.detector]
        _check_names(policy, "detector", judged, detectors)
        _check_names(policy, "attack", sorted(rule.attacks()), attacks)
        found += [rule.judge(detector, run) for detector in judged]
    return found


def verdict(judgements: Sequence[Judgement]) -> Verdict:
    """Return the verdict of all rules: one that fails decides, then one that is undecided.

    Args:
        judgements: of every rule and detector.
    """
    given = {judgement.verdict for judgement in judgements}
    if "fail" in given:
        return "fail"
    return "undecided" if "undecided" in given else "pass"


def _check_names(policy: Policy, kind: str, names: Sequence[str], known: Sequence[str]) -> None:
    """Raise ``ConfigError`` for a name that the run does not have."""
    for name in names:
        if name not in known:
            raise ConfigError(
                f"policy {policy.name}: no {kind} called {name!r}. {near_names(name, known)}"
            )
