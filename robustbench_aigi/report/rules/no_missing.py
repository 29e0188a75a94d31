"""The rule against missing and failed cells."""

from typing import Literal, final

from robustbench_aigi.outcomes import CellStatus
from robustbench_aigi.report.rules.base import JudgedRun, Judgement, PolicyRule, policy_rules


@policy_rules.add("no-missing")
@final
class NoMissing(PolicyRule):
    """No cell that is missing, incomplete, unavailable or failed."""

    no: Literal["missing"] = "missing"

    def __str__(self) -> str:
        return "no missing"

    def judge(self, detector: str, run: JudgedRun) -> Judgement:
        """Fail a ``detector`` that has a row in the matrix of the ``run`` that is not ``ok``."""
        matrix = run.results.matrix
        rows = matrix[(matrix["detector"] == detector) & (matrix["status"] != CellStatus.OK)]
        reasons = "; ".join(map(str, rows["status"].unique()))
        if reasons:
            return self.judged(detector, "fail", reasons)
        return self.judged(detector, "pass", "every cell is there")
