"""The rule against regressions from an earlier run."""

from collections.abc import Mapping
from typing import Any, Literal, final

from pydantic import Field

from robustbench_aigi.report.rules.base import JudgedRun, Judgement, PolicyRule, policy_rules


@policy_rules.add("no-regression")
@final
class NoRegression(PolicyRule):
    """No cell that is worse than in the base run, beyond chance.

    Attributes:
        p: significance, after Holm's correction.
    """

    no: Literal["regression"] = "regression"
    p: float = Field(0.01, gt=0, lt=1)

    def __str__(self) -> str:
        return f"no regression at p < {self.p:g}"

    def judge(self, detector: str, run: JudgedRun) -> Judgement:
        """Fail a ``detector`` that is worse in a cell of the ``run`` than in its base.

        Raises:
            DataError: the two runs have no image in common, or the base is no run.
        """
        changes = run.changes(self.p)
        if changes is None:
            return self.judged(detector, "undecided", "no base to compare with: --base RUN")
        own = changes[changes["detector"] == detector]
        worse = own[own["verdict"] == "regression"].to_dict("records")
        if worse:
            return self.judged(detector, "fail", "; ".join(map(_in_words, worse)))
        gone = int((own["verdict"] == "gone").sum())
        if gone:
            evidence = f"cells of the base that are not in this run: {gone}"
            return self.judged(detector, "undecided", evidence)
        return self.judged(detector, "pass", "none")


def _in_words(row: Mapping[Any, Any]) -> str:
    return (
        f"{row['attack']} {row['mode']} {row['direction']}: {100 * row['accuracy_before']:.1f} to "
        f"{100 * row['accuracy']:.1f}% (p = {row['p_holm']:.2g})"
    )
