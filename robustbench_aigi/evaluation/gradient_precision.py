"""Whether a detector's gradients are taken in half precision: measured, once for a run."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor

from robustbench_aigi.attacks import Attack
from robustbench_aigi.attacks._engine.scoring import Scorer
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.dataset import choose
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.freezing import frozen
from robustbench_aigi.detectors._support.placement import device_of, placed
from robustbench_aigi.evaluation.cells import GradientFormat, capture_failure
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.outcomes import Failed

TRIAL_IMAGES = 4
"""Images of a trial pass."""
MIN_SECONDS = 0.03
"""Shortest pass of an image on the processor for which half precision is tried. Quicker networks
are soon attacked, and then their numbers are the same on every processor."""
MIN_SPEEDUP = 1.2
"""Least speed of a half-precision pass over a full one."""
MIN_AGREEMENT = 0.97
"""Least share of equal signs in the two gradients."""


class Trial(NamedTuple):
    """A pass of a few images in full and in half precision.

    Attributes:
        speedup: how many times as fast the half-precision pass is.
        agreement: share of equal signs in the two gradients.
    """

    speedup: float = 1.0
    agreement: float = 1.0

    @property
    def pays(self) -> bool:
        """Whether half precision is quicker, and its gradients point where the others do."""
        return self.speedup >= MIN_SPEEDUP and self.agreement >= MIN_AGREEMENT


def choose_precision(detector: Detector, data: Dataset) -> None:
    """Set ``half_gradients`` of a detector by a trial.

    It stays off for a detector without gradients, one that scores at random, one that is quick on
    the processor, and one that raises in half precision.

    Args:
        detector: to set; ``card.stochastic`` is known.
        data: images to try it on.
    """
    detector.half_gradients = False
    if detector.card.gradient == "none" or detector.card.stochastic:
        return
    sample = Dataset(data.name, choose(data.manifest, TRIAL_IMAGES))
    with frozen(placed(detector)):
        found = capture_failure(detector.card.name, lambda: try_both(detector, sample))
    detector.half_gradients = not isinstance(found, Failed) and found.pays


def try_both(detector: Detector, data: Dataset) -> Trial:
    """Time a pass for gradients in full and in half precision.

    Args:
        detector: frozen, where it will be attacked.
        data: a few images.
    """
    images = next(iter(data.batches(TRIAL_IMAGES))).images
    levels = images.mul(MAX_LEVEL).round().to(device_of(detector))
    seconds, full = _timed_gradients(detector, levels, half=False)
    if levels.device.type == "cpu" and seconds < MIN_SECONDS * len(levels):
        return Trial()
    half_seconds, half = _timed_gradients(detector, levels, half=True)
    agreement = (full.sign() == half.sign()).float().mean().item()
    return Trial(seconds / half_seconds, agreement)


def _timed_gradients(detector: Detector, levels: Tensor, *, half: bool) -> tuple[float, Tensor]:
    """Return the seconds of the second of two passes, and its gradients."""
    scorer = Scorer(detector, len(levels), half_gradients=half)
    scorer.logits_and_gradients(levels)
    began = time.perf_counter()
    _, gradients = scorer.logits_and_gradients(levels)
    gradients.sum().item()  # an accelerator answers when it is done
    return time.perf_counter() - began, gradients


def gradient_format(detector: Detector, attack: Attack) -> GradientFormat | None:
    """Return the format of an attack's gradients; None for the detector's own.

    Args:
        detector: whose ``half_gradients`` are set.
        attack: on it.
    """
    return "bfloat16" if detector.half_gradients and attack.allows_half_gradients else None


@contextmanager
def full_precision(detectors: Iterable[Detector]) -> Iterator[None]:
    """Let detectors give gradients in their own precision inside a ``with`` block."""
    before = {detector: detector.half_gradients for detector in detectors}
    for detector in before:
        detector.half_gradients = False
    try:
        yield
    finally:
        for detector, half in before.items():
            detector.half_gradients = half
