"""What makes a detector's passes quicker: measured on it, once for a run, and recorded."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from robustbench_aigi.attacks import Attack
from robustbench_aigi.attacks._engine.scoring import Scorer
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.freezing import frozen
from robustbench_aigi.detectors._support.placement import device_of, placed
from robustbench_aigi.evaluation.cells import GradientFormat, capture_failure
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.outcomes import Failed

TRIAL_IMAGES = 4
"""Images of a trial pass."""
TRIAL_PASSES = 2
"""Timed passes of each way, after one that warms up; the quickest counts."""
MIN_SECONDS = 0.03
"""Shortest pass of an image on the processor for which there is a trial. Quicker networks are soon
attacked, and then their numbers are the same on every processor."""
MIN_SPEEDUP = 1.2
"""Least speed of a half-precision pass over a full one."""
MIN_LAYOUT_SPEEDUP = 1.05
"""Least speed of a pass in ``channels_last`` over one in the network's own memory format."""
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


class TimedGradients(NamedTuple):
    """Gradients ``(N, 3, H, W)`` and the seconds of the pass that computed them."""

    seconds: float
    gradients: Tensor


def choose_speedups(detector: Detector, data: Dataset) -> None:
    """Set ``channels_last`` and ``half_gradients`` of a detector by a trial.

    Both stay off for a detector without gradients, one that scores at random, one that is quick on
    the processor, and one that raises in the trial.

    Args:
        detector: to set; ``card.stochastic`` is known.
        data: images to try it on.
    """
    set_channels_last(detector, wanted=False)
    detector.half_gradients = False
    if detector.card.gradient == "none" or detector.card.stochastic:
        return
    sample = data.limit(TRIAL_IMAGES)
    with frozen(placed(detector)):
        found = capture_failure(detector.card.name, lambda: try_speedups(detector, sample))
    if isinstance(found, Failed):
        set_channels_last(detector, wanted=False)
        return
    detector.half_gradients = found.pays


def try_speedups(detector: Detector, data: Dataset) -> Trial:
    """Leave a detector in the quicker memory format, and time half-precision gradients in it.

    Args:
        detector: frozen, where it will be attacked.
        data: a few images.
    """
    images = next(iter(data.batches(TRIAL_IMAGES))).images
    levels = images.mul(MAX_LEVEL).round().to(device_of(detector))
    full = _timed_gradients(detector, levels, half=False)
    if levels.device.type == "cpu" and full.seconds < MIN_SECONDS * len(levels):
        return Trial()
    if _has_another_format(detector):
        set_channels_last(detector, wanted=True)
        other = _timed_gradients(detector, levels, half=False)
        set_channels_last(detector, wanted=full.seconds >= MIN_LAYOUT_SPEEDUP * other.seconds)
        full = other if detector.channels_last else full
    half = _timed_gradients(detector, levels, half=True)
    agreement = (full.gradients.sign() == half.gradients.sign()).float().mean().item()
    return Trial(full.seconds / half.seconds, agreement)


def set_channels_last(detector: Detector, *, wanted: bool) -> None:
    """Set ``channels_last`` of a detector, and keep the weights of its convolutions so.

    Args:
        detector: to set; the values of its weights stay.
        wanted: False restores the format that it had before it was set.
    """
    if detector.channels_last == wanted:
        return
    detector.channels_last = wanted
    memory_format = torch.channels_last if wanted else torch.contiguous_format
    for convolution in _convolutions(detector):
        convolution.weight.data = convolution.weight.data.contiguous(memory_format=memory_format)


def gradient_format(detector: Detector, attack: Attack) -> GradientFormat | None:
    """Return the format of an attack's gradients; None for the detector's own.

    Args:
        detector: whose ``half_gradients`` are set.
        attack: on it.
    """
    return "bfloat16" if detector.half_gradients and attack.allows_half_gradients else None


def layout_key(detector: Detector) -> tuple[str, ...]:
    """Return what a cell's key holds of the memory format: nothing for the detector's own.

    Args:
        detector: whose ``channels_last`` is set.
    """
    return ("channels-last",) if detector.channels_last else ()


@contextmanager
def without_speedups(detectors: Iterable[Detector]) -> Iterator[None]:
    """Let detectors run as they were before any trial inside a ``with`` block."""
    before = {detector: (detector.channels_last, detector.half_gradients) for detector in detectors}
    for detector in before:
        set_channels_last(detector, wanted=False)
        detector.half_gradients = False
    try:
        yield
    finally:
        for detector, (channels_last, half) in before.items():
            set_channels_last(detector, wanted=channels_last)
            detector.half_gradients = half


def _timed_gradients(detector: Detector, levels: Tensor, *, half: bool) -> TimedGradients:
    """Return the gradients and the seconds of the quickest pass after the first."""
    scorer = Scorer(detector, len(levels), half_gradients=half)
    scorer.logits_and_gradients(levels)
    seconds = []
    for _ in range(TRIAL_PASSES):
        began = time.perf_counter()
        _, gradients = scorer.logits_and_gradients(levels)
        gradients.sum().item()  # an accelerator answers when it is done
        seconds.append(time.perf_counter() - began)
    return TimedGradients(min(seconds), gradients)


def _convolutions(detector: Detector) -> list[nn.Conv2d]:
    """Return the convolutions whose weight is a parameter, not computed at every call."""
    return [
        module
        for module in detector.modules()
        if type(module) is nn.Conv2d and "weight" in module._parameters
    ]


def _has_another_format(detector: Detector) -> bool:
    """Return whether there are convolutions, none of them in ``channels_last`` yet."""
    found = _convolutions(detector)
    return bool(found) and all(one.weight.is_contiguous() for one in found)
