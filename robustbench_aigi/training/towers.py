"""Fine-tuning of a CLIP tower on attacked images: the loop that FARE and TeCoA share."""

from collections.abc import Callable

import torch
from torch import Tensor

from robustbench_aigi.detectors.clip_mlp import ClipDetector
from robustbench_aigi.grid import LEVELS, from_bytes
from robustbench_aigi.hashing import rng_for
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.augment import augment
from robustbench_aigi.training.fit import Plan, schedule

Progress = Callable[[str, int, int], None]
LossOf = Callable[[Tensor], Tensor]
"""Embeddings ``(N, D)`` to losses ``(N,)``."""
Aim = Callable[[Tensor, Tensor], LossOf]
"""Clean images and labels to what the attack raises and the training lowers."""


def fine_tune_tower(
    detector: ClipDetector,
    train: Arrays,
    plan: Plan,
    aim: Aim,
    *,
    eps: float,
    steps: int,
    task: str,
    progress: Progress = lambda task, done, total: None,
) -> list[float]:
    """Lower a loss of the tower's embeddings of images that are attacked to raise it; returns each epoch's mean.

    Args:
        eps: L-inf radius in grey levels. steps: of the inner attack.
    """
    detector.eval()
    detector.tower.requires_grad_(True)
    optimizer = torch.optim.AdamW(detector.tower.parameters(), lr=plan.rate, weight_decay=plan.weight_decay)
    rng = rng_for(plan.seed, task)
    total, step, losses = plan.epochs * -(-len(train.labels) // plan.batch), 0, []
    for _ in range(plan.epochs):
        spent = 0.0
        for index in torch.randperm(len(train.labels), generator=rng).split(plan.batch):
            images = augment(from_bytes(train.images[index]), train.labels[index], rng, shift=plan.shift, mix=plan.mix)
            loss_of = aim(images, train.labels[index])
            attacked = embedding_attack(detector, images, loss_of, eps, steps, rng)
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * schedule(step, total, plan.warmup)
            loss = loss_of(detector.embed(attacked)).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(detector.tower.parameters(), plan.clip)
            optimizer.step()
            spent += loss.item() * len(index)
            step += 1
            progress(task, step, total)
        losses.append(spent / len(train.labels))
    detector.tower.requires_grad_(False)
    return losses


def embedding_attack(
    detector: ClipDetector,
    images: Tensor,
    loss_of: LossOf,
    eps: float,
    steps: int,
    rng: torch.Generator,
) -> Tensor:
    """Raise a loss of the embeddings of ``(N, 3, H, W)`` images in [0, 1], within ``eps`` grey levels.

    PGD with momentum 0.9 from a random start, as FARE and TeCoA are trained.
    """
    radius = eps / LEVELS
    change = (torch.rand(images.shape, generator=rng) * 2 - 1) * radius
    momentum = torch.zeros_like(images)
    for _ in range(steps):
        attacked = (images + change).clamp(0, 1).requires_grad_(True)
        (slope,) = torch.autograd.grad(loss_of(detector.embed(attacked)).sum(), attacked)
        momentum = 0.9 * momentum + slope / slope.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        change = (change + 2 * radius / steps * momentum.sign()).clamp(-radius, radius)
    return (images + change).clamp(0, 1)
