"""The attack that a row of a suite means for a detector, which may be a black box."""

from robustbench_aigi.attacks import Attack, Suite, SuiteRow
from robustbench_aigi.detectors import Detector
from robustbench_aigi.evaluation.adequacy.detector_flags import VERDICT_STEP
from robustbench_aigi.outcomes import Unavailable

CONTROL_SUFFIX = " at eps 0"
"""Ending of a control row's id: the same attack with as many queries, which changes nothing."""


def aimed(row: SuiteRow, detector: Detector) -> Attack:
    """Return the row's attack, or one by verdicts where the detector's scores are coarse."""
    by_verdicts = row.built.by_verdicts() if detector.card.score_step >= VERDICT_STEP else None
    return row.built if by_verdicts is None else by_verdicts


def replaced_by(suite: Suite, detector: Detector) -> dict[str, str]:
    """Return the rows whose attack is replaced, and the name of the attack that replaces it."""
    return {
        row.id: aimed(row, detector).name
        for row in suite.rows
        if aimed(row, detector) is not row.built
    }


def not_aimed(row: SuiteRow, detector: Detector) -> Unavailable | None:
    """Return why a row cannot attack a detector; None if it can.

    Args:
        row: of a suite.
        detector: which may be a black box.
    """
    if row.built.access != "gradients" or detector.card.gradient != "none":
        return None
    return Unavailable(
        f"{row.attack} needs gradients, and {detector.card.name} has none (a black box)"
    )


def controls(suite: Suite, detector: Detector) -> list[SuiteRow]:
    """Return the control rows of a detector that scores at random; none for any other.

    They are its attacks by queries with eps 0, so that chance alone can fool it.
    """
    asked = [
        row for row in suite.rows if row.built.access == "scores" and hasattr(row.built, "eps")
    ]
    return [
        row.renamed(f"{row.id}{CONTROL_SUFFIX}", eps=0) for row in asked if detector.card.stochastic
    ]
