"""FARE: a CLIP tower whose embedding of an attacked image stays where the original tower puts the clean one."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from robustbench_aigi.detectors.clip_mlp import ClipDetector
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.fit import Plan
from robustbench_aigi.training.towers import LossOf, fine_tune_tower

Progress = Callable[[str, int, int], None]


def fare(
    detector: ClipDetector,
    train: Arrays,
    plan: Plan,
    *,
    eps: float = 4,
    steps: int = 5,
    progress: Progress = lambda task, done, total: None,
) -> list[float]:
    """Fine-tune the tower in place, without labels; returns the mean loss of each epoch.

    Inner attack and outer loss are the squared distance of the attacked image's embedding to the frozen original's of
    the clean image. Source: Schlarmann et al., ICML 2024.

    Args:
        eps: L-inf radius in grey levels. steps: of the inner attack.
    """
    original = copy.deepcopy(detector).eval()

    def aim(images: Tensor, labels: Tensor) -> LossOf:
        with torch.no_grad():
            target = original.embed(images)
        return lambda embedding: distance(embedding, target)

    return fine_tune_tower(detector, train, plan, aim, eps=eps, steps=steps, task="fare", progress=progress)


def distance(embedding: Tensor, target: Tensor) -> Tensor:
    """Squared L2 distance of ``(N, D)`` embeddings, summed over dimensions."""
    return (embedding - target).square().sum(dim=1)
