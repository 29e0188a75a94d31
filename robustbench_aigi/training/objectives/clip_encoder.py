"""Adversarial fine-tuning of a CLIP image encoder: what FARE and TeCoA share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.clip_detector import ClipDetector
from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.io.hashing import rng_for
from robustbench_aigi.training.arrays import TrainingImages, pixels_of
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.objectives.adversarial import Ramp
from robustbench_aigi.training.objectives.base import Loss, TrainingBatch
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation

EmbeddingLoss = Callable[[Tensor], Tensor]
"""From embeddings ``(N, D)`` to losses ``(N,)``."""
EncoderLoss = Callable[[Tensor, Tensor], EmbeddingLoss]
"""From clean images and labels to the loss that the attack raises and the training lowers."""
MAX_SCORED = 500
"""Validation images that an epoch of an encoder is scored on, at most."""
SCORE_BATCH = 100
"""Images per scored batch."""
ATTACK_MOMENTUM = 0.9
"""Momentum of PGD, as in FARE and TeCoA."""


@dataclass(frozen=True)
class EncoderObjective:
    """Lower a loss on the embeddings of images that are attacked to raise it.

    The attack is PGD with momentum from a random start.

    Attributes:
        loss: on embeddings.
        config: of the training.
        ramp: growth of eps.
    """

    loss: EncoderLoss
    config: TrainConfig
    ramp: Ramp = field(default_factory=lambda: Ramp(0))

    def __call__(self, detector: Detector, batch: TrainingBatch) -> Loss:
        """Attack a ``batch`` through the encoder of a ``detector``, and return the loss."""
        clip = require_clip(detector)
        loss_of = self.loss(batch.images, batch.labels)
        rng = rng_for(self.config.seed, "tower", batch.step)
        eps = self.config.eps * self.ramp(batch.step)
        attacked = self._attacked(clip, batch.images, loss_of, rng, eps)
        return lambda: loss_of(clip.embed(attacked)).mean()

    def score(self, detector: Detector, data: TrainingImages) -> dict[str, float]:
        """Return the negative loss under attack, of up to :data:`MAX_SCORED` images.

        Args:
            detector: in evaluation mode.
            data: validation images.
        """
        clip = require_clip(detector)
        images = data.images[:MAX_SCORED]
        labels = data.labels[:MAX_SCORED]
        total = 0.0
        for start in range(0, len(labels), SCORE_BATCH):
            pixels = from_bytes(pixels_of(images[start : start + SCORE_BATCH]))
            loss_of = self.loss(pixels, labels[start : start + SCORE_BATCH])
            rng = rng_for("tower score", start)
            attacked = self._attacked(clip, pixels, loss_of, rng, self.config.eps)
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
        steps = self.config.steps
        return inner_maximisation(
            clip,
            images,
            partial(_embedding_loss, clip, loss_of),
            rng,
            eps=eps,
            steps=steps,
            step=2 * eps / steps,
            momentum=ATTACK_MOMENTUM,
        )


def _embedding_loss(clip: ClipDetector, loss_of: EmbeddingLoss, images: Tensor) -> Tensor:
    return loss_of(clip.embed(images))


def require_clip(detector: Detector) -> ClipDetector:
    """Return a ``detector`` that has a CLIP encoder. Raises ``UserError`` for any other."""
    if not isinstance(detector, ClipDetector):
        raise UserError(
            f"this method trains a CLIP encoder, and {detector.card.name} has none. Type"
            " `train clip-mlp`."
        )
    return detector
