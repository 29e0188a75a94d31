"""A look at a detector before an evaluation: what would make its numbers meaningless is reported
early.
"""

from dataclasses import dataclass

import torch

from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.freezing import frozen
from robustbench_aigi.detectors._support.placement import on_device, placed
from robustbench_aigi.detectors._support.randomness import is_random
from robustbench_aigi.detectors._support.score_step import step_of_logits
from robustbench_aigi.detectors.external.outputs import logits_seen
from robustbench_aigi.evaluation.adequacy.detector_flags import (
    constant_verdict,
    sums_to_one,
    within_unit_interval,
)
from robustbench_aigi.evaluation.cells import capture_failure
from robustbench_aigi.outcomes import Failed

PREFLIGHT_IMAGES = 32
"""Images that a detector is shown."""
SOLO_IMAGES = 4
"""Images that are scored alone too, to see whether a score depends on what else is in the batch."""
SOLO_TOLERANCE = 1e-2
"""Difference of a score alone and in a batch, relative above 1, that is put down to floating point.
"""


@dataclass(frozen=True)
class Preflight:
    """What a few images tell about a detector.

    Attributes:
        at_random: whether two scores of one image differ, or may.
        batch_shift: the largest difference between an image's logit alone and in a batch; 0 if it
            is within rounding.
        score_step: the step of its scores on the probability scale; 0 if none is seen.
        softmax: a sentence if outputs taken for logits are shares of one; else empty.
        warnings: what makes its numbers doubtful, one sentence each.
    """

    at_random: bool = False
    batch_shift: float = 0.0
    score_step: float = 0.0
    softmax: str = ""
    warnings: tuple[str, ...] = ()


def look_at(detector: Detector, data: Dataset) -> Preflight:
    """Examine a detector, and set what its evaluation needs to know of its scores.

    Args:
        detector: its card gets ``stochastic`` and ``score_step``; one whose scores depend on the
            batch is shown its images one by one from now on.
        data: as in :func:`examine`.
    """
    look = examine(detector, data)
    facts = {"stochastic": look.at_random, "score_step": look.score_step}
    detector.describe(**facts)
    if look.batch_shift:
        detector.at_once = 1
    return look


def examine(detector: Detector, data: Dataset) -> Preflight:
    """Score a few images of ``data``, some of them alone too.

    A detector that raises gets a warning with the error; the evaluation continues and reports
    its cells as errors.
    """
    sample = data.limit(PREFLIGHT_IMAGES)
    with frozen(placed(detector)):
        found = capture_failure(detector.card.name, lambda: _examined(detector, sample))
    if isinstance(found, Failed):
        return Preflight(
            warnings=(
                (f"The check before the run failed, so nothing is known of its scores: {found}"),
            )
        )
    return found


@torch.no_grad()
def _examined(detector: Detector, sample: Dataset) -> Preflight:
    first = next(sample.batches(PREFLIGHT_IMAGES))
    at_random = is_random(detector, first.images)
    with logits_seen() as outputs:
        scored = [
            (on_device(detector, batch.images).cpu(), batch.labels)
            for batch in sample.batches(PREFLIGHT_IMAGES)
        ]
    logits = torch.cat([scores for scores, _ in scored])
    labels = torch.cat([truth for _, truth in scored])
    shift = (
        0.0
        if at_random or (detector.card.gradient == "none" and detector.remote)
        else _shift(detector, sample)
    )
    step = detector.card.score_step or (0.0 if at_random else step_of_logits(logits))
    softmax = sums_to_one(outputs)
    found = (
        constant_verdict(logits, labels, detector.threshold),
        within_unit_interval(logits, detector.threshold),
        softmax,
    )
    return Preflight(
        at_random, shift, step, softmax, tuple(message for message in found if message)
    )


def _shift(detector: Detector, sample: Dataset) -> float:
    """How far a score moves with the batch around it."""
    shifts = [0.0]
    for batch in sample.batches(PREFLIGHT_IMAGES):
        if len(batch.images) > 1:
            together = on_device(detector, batch.images).cpu()[:SOLO_IMAGES]
            alone = torch.cat(
                [on_device(detector, image[None]).cpu() for image in batch.images[:SOLO_IMAGES]]
            )
            moved = (together - alone).abs()
            shifts += moved[moved > SOLO_TOLERANCE * alone.abs().clamp(min=1)].tolist()
            break
    return max(shifts)
