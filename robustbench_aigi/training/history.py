"""What a training reports: its epochs, and how validation images are scored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from robustbench_aigi.detectors import Detector
from robustbench_aigi.training.arrays import TrainingImages, balanced_accuracy

Score = Callable[[Detector, TrainingImages], Mapping[str, float]]
"""Figures of a detector on validation images. "score" picks the best epoch: higher is better."""
StopReason = Callable[[Mapping[str, float]], str | None]
"""From an epoch's row to the reason to stop the training early, or None."""


@dataclass
class History:
    """Record of a training.

    Attributes:
        rows: one per epoch.
        best_epoch: index of the epoch whose weights were chosen; -1 before the first.
        without_gradient: names of the weights that got no gradient in the first steps.
        stop_reason: why the training ended early; None if it did not.
    """

    rows: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = -1
    without_gradient: list[str] = field(default_factory=list)
    stop_reason: str | None = None


def clean_score(detector: Detector, data: TrainingImages) -> dict[str, float]:
    """Return the balanced accuracy on images as they are.

    Args:
        detector: in evaluation mode.
        data: validation images of both classes.
    """
    return {"score": balanced_accuracy(detector, data)}


def never_stop(row: Mapping[str, float]) -> None:
    """Return no reason to stop, whatever is in the ``row``."""
