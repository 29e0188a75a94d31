"""Contract of a policy rule, and the registry of all kinds of them."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Self

import pandas as pd
from pydantic import ValidationError
from pydantic_core import InitErrorDetails

from robustbench_aigi.config.open_model import OpenModel
from robustbench_aigi.errors import UnknownNameError
from robustbench_aigi.registry import Registry
from robustbench_aigi.report.compare import compare
from robustbench_aigi.report.run_results import RunResults, read_runs

Verdict = Literal["pass", "fail", "undecided"]
ABSENCE_PREFIX = "no-"
"""Beginning of the names of kinds that a policy may write as ``no = "..."``."""
DEFAULT_KIND = "bound"
"""Kind of a rule that has neither ``kind`` nor ``no``."""


class Judgement(NamedTuple):
    """Verdict of a rule on a detector.

    Attributes:
        rule: in words.
        detector: its name in the matrix.
        verdict: ``undecided`` where a number is missing or a flag speaks against it.
        evidence: the number or the reason that decides.
    """

    rule: str
    detector: str
    verdict: Verdict
    evidence: str


@dataclass(frozen=True)
class JudgedRun:
    """A run as rules see it.

    Attributes:
        results: its matrix, flags and tables.
        base: folder of the run to compare with; None if there is none.
    """

    results: RunResults
    base: Path | None = None
    _changes: dict[float, pd.DataFrame] = field(default_factory=dict, repr=False)

    def changes(self, significance: float) -> pd.DataFrame | None:
        """Return what changed since the base run, see
        :func:`~robustbench_aigi.report.compare.compare`.

        Args:
            significance: largest p, after Holm's correction, of a change beyond chance.

        Returns:
            One row per cell and direction, computed once per significance; None without a base.

        Raises:
            DataError: the two runs have no image in common.
        """
        if self.base is None:
            return None
        if significance not in self._changes:
            base = read_runs([self.base])
            self._changes[significance] = compare(self.results, base, significance)
        return self._changes[significance]


class PolicyRule(OpenModel, frozen=True, extra="forbid"):
    """A rule of a policy; its fields are the keys of ``[[rules]]`` in the file.

    Register a subclass with :data:`policy_rules`, or by an entry point of the group
    ``robustbench_aigi.report.rules``. ``str(rule)`` is the rule in words. Policies write
    ``no = "NAME"`` for a kind called ``no-NAME`` (with a field ``no``), and ``kind = "NAME"`` for
    any kind.

    Attributes:
        kind: registered name, or ``module:Class``; None where the other keys say it.
        detector: whose numbers are judged; every detector's if None.
    """

    kind: str | None = None
    detector: str | None = None

    @abstractmethod
    def __str__(self) -> str:
        """Return the rule in words."""

    @abstractmethod
    def judge(self, detector: str, run: JudgedRun) -> Judgement:
        """Judge one detector of a run.

        Args:
            detector: its name in the matrix.
            run: what the verdict is about.

        Raises:
            UserError: what the rule needs cannot be read.
        """

    def attacks(self) -> frozenset[str]:
        """Return the names of the attacks, as in the matrix, that a run must have for the rule."""
        return frozenset()

    def judged(self, detector: str, verdict: Verdict, evidence: str) -> Judgement:
        """Return a judgement by this rule.

        Args:
            detector: its name in the matrix.
            verdict: on it.
            evidence: the number or the reason that decides.
        """
        return Judgement(str(self), detector, verdict, evidence)

    @classmethod
    def model_for(cls, given: object) -> type[Self]:
        """Return the class of the kind that ``given`` is of. Raises ``ValidationError``."""
        if cls is not PolicyRule or not isinstance(given, Mapping):
            return cls
        name = _kind_of(given)
        try:
            found = policy_rules.get(name)
            if not issubclass(found, cls):
                raise UnknownNameError(f"{name} is no subclass of {cls.__name__}.")
        except UnknownNameError as error:
            raise _unknown_kind(given, error) from error
        return found


policy_rules: Registry[PolicyRule] = Registry("policy rule", __package__)


def _kind_of(given: Mapping[object, object]) -> str:
    """Return the name of a rule's kind."""
    if given.get("kind") is not None:
        return str(given["kind"])
    return f"{ABSENCE_PREFIX}{given['no']}" if "no" in given else DEFAULT_KIND


def _unknown_kind(given: Mapping[object, object], error: UnknownNameError) -> ValidationError:
    """Return the error of a rule of an unknown kind, at the key that says the kind."""
    key = "kind" if given.get("kind") is not None else "no"
    fault = InitErrorDetails(
        type="value_error", loc=(key,), input=given[key], ctx={"error": ValueError(str(error))}
    )
    absences = [name for name in policy_rules.names() if name.startswith(ABSENCE_PREFIX)]
    if key == "no" and not policy_rules.broken():
        *others, last = (repr(name.removeprefix(ABSENCE_PREFIX)) for name in absences)
        fault["type"] = "literal_error"
        fault["ctx"] = {"expected": f"{', '.join(others)} or {last}"}
    return ValidationError.from_exception_data(PolicyRule.__name__, [fault])
