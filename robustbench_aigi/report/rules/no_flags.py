"""The rule against adequacy flags."""

from typing import Literal, final

from robustbench_aigi.report.rules.base import JudgedRun, Judgement, PolicyRule, policy_rules


@policy_rules.add("no-flags")
@final
class NoFlags(PolicyRule):
    """No adequacy flag, of the detector or of an attack on it."""

    no: Literal["flags"] = "flags"

    def __str__(self) -> str:
        return "no flags"

    def judge(self, detector: str, run: JudgedRun) -> Judgement:
        """Fail a ``detector`` with a flag; a ``run`` that was stopped has not been looked at."""
        flags = run.results.flags
        if flags is None:
            evidence = "not looked for: the run was stopped before its end"
            return self.judged(detector, "undecided", evidence)
        own = {
            f"{flag.kind} ({flag.attack or 'all'})" for flag in flags if flag.detector == detector
        }
        return self.judged(detector, "fail" if own else "pass", ", ".join(sorted(own)) or "none")
