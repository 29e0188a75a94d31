"""Inner maximisation of adversarial training: a short PGD off the 8-bit grid, on any loss."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.folding import folded
from robustbench_aigi.detectors._support.freezing import frozen
from robustbench_aigi.imaging.pixels import MAX_LEVEL

Norm = Literal["linf", "l2"]
MIN_LENGTH = 1e-12
"""Lengths are divided by no less than this."""


def inner_maximisation(
    detector: Detector,
    images: Tensor,
    loss: Callable[[Tensor], Tensor],
    rng: torch.Generator,
    *,
    eps: float,
    steps: int,
    step: float | None = None,
    start: float = 1.0,
    momentum: float = 0.0,
    norm: Norm = "linf",
) -> Tensor:
    """Raise a loss by PGD from a random start, and return the attacked images in [0, 1].

    The detector is in evaluation mode meanwhile.

    Args:
        detector: that the loss depends on.
        images: ``(N, 3, H, W)`` in [0, 1].
        loss: from images to losses ``(N,)``, or to their sum.
        rng: CPU generator of the start.
        eps: radius, in grey levels for L-inf and in the [0, 1]-pixel norm for L2.
        steps: gradient steps.
        step: length of a step, in units of ``eps``; None means 2.5 radii in all steps together.
        start: distance of the random start, as a share of the radius.
        momentum: share of the last direction that is kept.
        norm: of the ball.
    """
    radius = eps / MAX_LEVEL if norm == "linf" else eps
    length = 2.5 * radius / steps if step is None else step * radius / eps
    change = _project((2 * _uniform(images, rng) - 1) * start * radius, radius, norm)
    velocity = torch.zeros_like(images)
    with frozen(detector), folded(detector, images[:4]):
        for _ in range(steps):
            attacked = (images + change).clamp(0, 1).requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(attacked).sum(), attacked)
            if momentum:
                mean = gradient.abs().mean(dim=(1, 2, 3), keepdim=True)
                velocity = momentum * velocity + gradient / mean.clamp(min=MIN_LENGTH)
                gradient = velocity
            change = _project(change + length * _direction(gradient, norm), radius, norm)
    return (images + change).clamp(0, 1)


def _uniform(images: Tensor, rng: torch.Generator) -> Tensor:
    """Draw from [0, 1) for every value, on the images' device, where the CPU would be slow."""
    if images.device.type != "cpu":
        seed = int(torch.randint(2**62, (), generator=rng))
        rng = torch.Generator(images.device).manual_seed(seed)
    return torch.rand(images.shape, generator=rng, device=images.device)


def _direction(gradient: Tensor, norm: Norm) -> Tensor:
    return gradient.sign() if norm == "linf" else gradient / _lengths(gradient)


def _project(change: Tensor, radius: float, norm: Norm) -> Tensor:
    if norm == "linf":
        return change.clamp(-radius, radius)
    projected: Tensor = change * (radius / _lengths(change)).clamp(max=1)
    return projected


def _lengths(tensor: Tensor) -> Tensor:
    lengths: Tensor = tensor.flatten(1).norm(dim=1).clamp(min=MIN_LENGTH).view(-1, 1, 1, 1)
    return lengths
