"""FARE: a CLIP tower whose embedding of an attacked image stays where the original tower puts the
clean one.
"""

import torch
from torch import Tensor

from robustbench_aigi.detectors._support.clip_detector import ClipDetector
from robustbench_aigi.detectors._support.faster import copy_detector
from robustbench_aigi.training.objectives.clip_encoder import (
    EmbeddingLoss,
    EncoderObjective,
    clip_of,
)


def fare(detector: ClipDetector) -> EncoderObjective:
    """Needs no labels: the squared distance of an embedding to the clean image's in the tower as it
    is now.

    Source: Schlarmann et al., Robust CLIP, ICML 2024.
    """
    original = clip_of(copy_detector(detector))

    def aim(images: Tensor, labels: Tensor) -> EmbeddingLoss:
        original.to(images.device)
        with torch.no_grad():
            target = original.embed(images)
        return lambda embedding: distance(embedding, target)

    return aim


def distance(embedding: Tensor, target: Tensor) -> Tensor:
    """Squared L2 distance of ``(N, D)`` embeddings, summed over dimensions."""
    return (embedding - target).square().sum(dim=1)
