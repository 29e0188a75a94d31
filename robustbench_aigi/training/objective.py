"""What a training method is: an objective, which attacks a batch and gives the loss to lower."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from robustbench_aigi.detectors import Detector

Loss = Callable[[], Tensor]


@dataclass(frozen=True)
class Batch:
    """``images`` ``(N, 3, H, W)`` in [0, 1], ``labels`` int64 ``(N,)``, ``targets`` float ``(N,)``: smoothed labels."""

    images: Tensor
    labels: Tensor
    targets: Tensor
    step: int

    def after(self, first: int) -> "Batch":
        """The batch without its first images."""
        return Batch(self.images[first:], self.labels[first:], self.targets[first:], self.step)


Objective = Callable[[Detector, Batch], Loss]
"""What a training method is: it attacks the batch, and gives the loss to lower as a function of the weights."""


def own_loss(detector: Detector, batch: Batch) -> Loss:
    """The detector's own loss on clean images, binary cross-entropy for most: the plain method."""
    return lambda: detector.loss(batch.images, batch.targets)
