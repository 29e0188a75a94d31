"""Which attack of a suite's row is really aimed at a detector: one that it can answer."""

from robustbench_aigi.attacks import Attack, Suite, SuiteRow
from robustbench_aigi.detectors import Detector
from robustbench_aigi.evaluation.adequacy.detector_flags import COARSE_STEP

CONTROL = " at eps 0"
"""Behind a row's name: the same attack with as many queries that changes nothing."""


def aimed(row: SuiteRow, detector: Detector) -> Attack:
    """The row's attack, or, where the detector's scores come in coarse steps, the attack by
    verdicts in its place.
    """
    by_verdicts = row.built.by_verdicts() if detector.card.score_step >= COARSE_STEP else None
    return row.built if by_verdicts is None else by_verdicts


def replaced_by(suite: Suite, detector: Detector) -> dict[str, str]:
    """Rows to the name of the attack that takes the place of their own."""
    return {
        row.id: aimed(row, detector).name
        for row in suite.rows
        if aimed(row, detector) is not row.built
    }


def not_aimed(row: SuiteRow, detector: Detector) -> str:
    """The status of a row that cannot be aimed at a detector; empty if it can."""
    if row.built.access != "gradients" or detector.card.gradient != "none":
        return ""
    return (
        f"unavailable: {row.attack} needs gradients, and {detector.card.name} has none (a black"
        " box)"
    )


def controls(suite: Suite, detector: Detector) -> list[SuiteRow]:
    """For a detector that scores at random, each attack by queries once more with eps 0: what luck
    alone fools.
    """
    asked = [
        row for row in suite.rows if row.built.access == "scores" and hasattr(row.built, "eps")
    ]
    return [row.renamed(f"{row.id}{CONTROL}", eps=0) for row in asked if detector.card.stochastic]
