"""FARE: a CLIP tower whose embedding of an attacked image stays where the original tower puts the clean one."""

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from robustbench_aigi.detectors.clip_mlp import ClipMLP
from robustbench_aigi.grid import LEVELS, from_bytes
from robustbench_aigi.hashing import rng_for
from robustbench_aigi.training.fit import Arrays, Plan, augment, schedule

Progress = Callable[[str, int, int], None]


def fare(
    detector: ClipMLP,
    train: Arrays,
    plan: Plan,
    *,
    eps: float = 4,
    steps: int = 5,
    progress: Progress = lambda task, done, total: None,
) -> list[float]:
    """Fine-tune the tower in place, without labels; returns the mean loss of each epoch.

    The inner attack is PGD with momentum 0.9 on the squared distance of embeddings; the outer loss the same distance
    to the frozen original's embedding of the clean image. Source: Schlarmann et al., ICML 2024.

    Args:
        eps: L-inf radius in grey levels. steps: of the inner attack.
    """
    original = copy.deepcopy(detector).eval()
    detector.tower.requires_grad_(True)
    optimizer = torch.optim.AdamW(detector.tower.parameters(), lr=plan.rate, weight_decay=plan.weight_decay)
    rng = rng_for(plan.seed, "fare")
    total, step, losses = plan.epochs * -(-len(train.labels) // plan.batch), 0, []
    for _ in range(plan.epochs):
        spent = 0.0
        for index in torch.randperm(len(train.labels), generator=rng).split(plan.batch):
            images = augment(from_bytes(train.images[index]), train.labels[index], plan, rng)
            with torch.no_grad():
                target = original.embed(images)
            attacked = embedding_attack(detector, images, target, eps, steps, rng)
            for group in optimizer.param_groups:
                group["lr"] = plan.rate * schedule(step, total, plan.warmup)
            loss = distance(detector.embed(attacked), target).mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(detector.tower.parameters(), plan.clip)
            optimizer.step()
            spent += loss.item() * len(index)
            step += 1
            progress("fare", step, total)
        losses.append(spent / len(train.labels))
    detector.tower.requires_grad_(False)
    detector.eval()
    return losses


def embedding_attack(
    detector: ClipMLP, images: Tensor, target: Tensor, eps: float, steps: int, rng: torch.Generator
) -> Tensor:
    """Push ``(N, 3, H, W)`` images in [0, 1] away from their target embeddings, within ``eps`` grey levels."""
    radius = eps / LEVELS
    change = (torch.rand(images.shape, generator=rng) * 2 - 1) * radius
    momentum = torch.zeros_like(images)
    for _ in range(steps):
        attacked = (images + change).clamp(0, 1).requires_grad_(True)
        (slope,) = torch.autograd.grad(distance(detector.embed(attacked), target).sum(), attacked)
        momentum = 0.9 * momentum + slope / slope.abs().mean(dim=(1, 2, 3), keepdim=True).clamp(min=1e-12)
        change = (change + 2 * radius / steps * momentum.sign()).clamp(-radius, radius)
    return (images + change).clamp(0, 1)


def distance(embedding: Tensor, target: Tensor) -> Tensor:
    """Squared L2 distance of ``(N, D)`` embeddings, summed over dimensions."""
    return (embedding - target).square().sum(dim=1)
