"""What a training method is: an objective, which attacks a batch and gives the loss to lower."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector

Loss = Callable[[], Tensor]


@dataclass(frozen=True)
class TrainingBatch:
    """``images`` ``(N, 3, H, W)`` in [0, 1], ``labels`` int64 ``(N,)``, ``targets`` float ``(N,)``:
    smoothed labels.

    ``categories`` float ``(N, K)`` is how much an image shows of each of K things, or of one where
    they are not told. ``changed`` bool ``(N,)``: attacked or perturbed before; None if none is.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor
    step: int
    categories: Tensor = field(default_factory=lambda: torch.empty(0))
    changed: Tensor | None = None

    def only(self, index: Tensor) -> "TrainingBatch":
        """The images at an index, which are told nothing of what they show."""
        return TrainingBatch(self.images[index], self.labels[index], self.targets[index], self.step)


Objective = Callable[[Detector, TrainingBatch], Loss]
"""What a training method is: it attacks the batch, and gives the loss to lower as a function of the
weights.
"""


def own_loss(detector: Detector, batch: TrainingBatch) -> Loss:
    """The detector's own loss on clean images, binary cross-entropy for most: the plain method."""
    return lambda: detector.loss(batch.images, batch.targets)
