"""Fine-tuning of a CLIP tower on attacked images: what FARE and TeCoA share."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.clip_detector import ClipDetector
from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.io.hashing import rng_for
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.objectives.adversarial import Ramp
from robustbench_aigi.training.objectives.base import Loss, TrainingBatch
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation

EmbeddingLoss = Callable[[Tensor], Tensor]
"""Embeddings ``(N, D)`` to losses ``(N,)``."""
EncoderObjective = Callable[[Tensor, Tensor], EmbeddingLoss]
"""Clean images and labels to what the attack raises and the training lowers."""
JUDGED = 500
"""Most validation images that an epoch of a tower is judged by."""


@dataclass(frozen=True)
class Tower:
    """An objective, and a score, on the embeddings of images that are attacked to raise what
    ``aim`` gives.

    PGD with momentum 0.9 from a random start, as FARE and TeCoA are trained.
    """

    aim: EncoderObjective
    plan: TrainConfig
    ramp: Ramp = field(default_factory=lambda: Ramp(0))

    def __call__(self, detector: Detector, batch: TrainingBatch) -> Loss:
        """Attack the batch."""
        clip = clip_of(detector)
        loss_of = self.aim(batch.images, batch.labels)
        rng, eps = (
            rng_for(self.plan.seed, "tower", batch.step),
            self.plan.eps * self.ramp(batch.step),
        )
        attacked = self._attacked(clip, batch.images, loss_of, rng, eps)
        return lambda: loss_of(clip.embed(attacked)).mean()

    def score(self, detector: Detector, data: Arrays) -> dict[str, float]:
        """Minus the loss under attack, of up to :data:`JUDGED` images."""
        clip, total = clip_of(detector), 0.0
        images, labels = data.images[:JUDGED], data.labels[:JUDGED]
        for start in range(0, len(labels), 100):
            pixels = from_bytes(images[start : start + 100])
            loss_of = self.aim(pixels, labels[start : start + 100])
            attacked = self._attacked(
                clip, pixels, loss_of, rng_for("tower score", start), self.plan.eps
            )
            with torch.no_grad():
                total += float(loss_of(clip.embed(attacked)).sum())
        return {"score": -total / len(labels)}

    def _attacked(
        self,
        clip: ClipDetector,
        images: Tensor,
        loss_of: EmbeddingLoss,
        rng: torch.Generator,
        eps: float,
    ) -> Tensor:
        steps = self.plan.steps
        raised = lambda candidates: loss_of(clip.embed(candidates))  # noqa: E731
        return inner_maximisation(
            clip, images, raised, rng, eps=eps, steps=steps, step=2 * eps / steps, momentum=0.9
        )


def clip_of(detector: Detector) -> ClipDetector:
    """The detector, which must have a CLIP tower. Raises ``UserError``."""
    if not isinstance(detector, ClipDetector):
        raise UserError(
            f"this trains a CLIP tower, and {detector.card.name} has none. Type `train clip-mlp`."
        )
    return detector
