"""Contract of an objective: it attacks a batch if it wants to, and returns the loss to lower."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from robustbench_aigi.detectors import Detector

Loss = Callable[[], Tensor]
"""The loss of a batch as a function of the weights: called once or twice per step."""


@dataclass(frozen=True)
class TrainingBatch:
    """Images of one step.

    Attributes:
        images: ``(N, 3, H, W)`` in [0, 1].
        labels: int64 ``(N,)``, 1 = AI-generated.
        targets: float ``(N,)``, labels after smoothing and mixing.
        step: counted from 0.
        categories: float ``(N, K)``, share of each category in an image; K is 1 where categories
            are unknown.
        changed: bool ``(N,)``, attacked or perturbed before; None if none is.
    """

    images: Float[Tensor, "n 3 h w"]
    labels: Int[Tensor, " n"]
    targets: Float[Tensor, "n ..."]
    step: int
    categories: Tensor = field(default_factory=lambda: torch.empty(0))
    changed: Bool[Tensor, " n"] | None = None

    def only(self, index: Tensor) -> "TrainingBatch":
        """Return the images at an ``index``, without their categories."""
        return TrainingBatch(self.images[index], self.labels[index], self.targets[index], self.step)


Objective = Callable[[Detector, TrainingBatch], Loss]
"""From a detector and a batch to the loss to lower."""


def own_loss(detector: Detector, batch: TrainingBatch) -> Loss:
    """Return the detector's own loss on the ``batch``, for most binary cross-entropy."""
    return lambda: detector.loss(batch.images, batch.targets)
