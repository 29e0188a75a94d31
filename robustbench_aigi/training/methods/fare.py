"""FARE: a CLIP encoder whose embedding of an attacked image stays that of the clean one."""

from typing import final

import torch
from torch import Tensor

from robustbench_aigi.detectors._support.clip_detector import ClipDetector
from robustbench_aigi.detectors._support.faster import copy_detector
from robustbench_aigi.training.methods._clip_encoder import ClipEncoderTraining
from robustbench_aigi.training.methods.base import methods
from robustbench_aigi.training.objectives.clip_encoder import (
    EmbeddingLoss,
    EncoderLoss,
    require_clip,
)


@methods.add("fare")
@final
class FareTraining(ClipEncoderTraining):
    """Fine-tune a CLIP encoder by FARE. Source: Schlarmann et al., Robust CLIP, ICML 2024."""

    summary = "a CLIP encoder that PGD cannot move, then a head"
    prefix = "robust-"

    def encoder_loss(self, detector: ClipDetector) -> EncoderLoss:
        """Return the FARE loss on the encoder of a ``detector``."""
        return fare_loss(detector)


def fare_loss(detector: ClipDetector) -> EncoderLoss:
    """Return the squared distance to the clean image's embedding by the encoder as it is now.

    It needs no labels. Source: Schlarmann et al., Robust CLIP, ICML 2024.

    Args:
        detector: copied, so that training does not move the target.
    """
    original = require_clip(copy_detector(detector))

    def loss(images: Tensor, labels: Tensor) -> EmbeddingLoss:
        original.to(images.device)
        with torch.no_grad():
            target = original.embed(images)
        return lambda embedding: squared_distance(embedding, target)

    return loss


def squared_distance(embedding: Tensor, target: Tensor) -> Tensor:
    """Return the squared L2 distance ``(N,)``, summed over dimensions.

    Args:
        embedding: ``(N, D)``.
        target: ``(N, D)``.

    Example:
        >>> squared_distance(torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2))
        tensor([25.])
    """
    return (embedding - target).square().sum(dim=1)
