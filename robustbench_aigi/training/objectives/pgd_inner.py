"""The attack inside a training step: short, off the grid, on any loss that is differentiable in the
images.
"""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.oracle import frozen
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.folding import folded
from robustbench_aigi.imaging.pixels import LEVELS


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
    norm: Literal["linf", "l2"] = "linf",
) -> Tensor:
    """Raise a loss of ``(N, 3, H, W)`` images in [0, 1], ``(N,)`` or summed, by PGD; the detector
    is as in evaluation.

    Args:
        eps: radius, in grey levels for L-inf and in the [0, 1]-pixel norm for L2. step: 2.5 radii
            in all if None.
        start: how far out the random start lies, as a share of the radius.
        momentum: share of the last direction that is kept.
    """
    radius = eps / LEVELS if norm == "linf" else eps
    length = 2.5 * radius / steps if step is None else step * radius / eps
    change = _inside((2 * _uniform(images, rng) - 1) * start * radius, radius, norm)
    kept = torch.zeros_like(images)
    with frozen(detector), folded(detector, images[:4]):
        for _ in range(steps):
            attacked = (images + change).clamp(0, 1).requires_grad_(True)
            (slope,) = torch.autograd.grad(loss(attacked).sum(), attacked)
            if momentum:
                kept = momentum * kept + slope / slope.abs().mean(
                    dim=(1, 2, 3), keepdim=True
                ).clamp(min=1e-12)
                slope = kept
            way = slope.sign() if norm == "linf" else slope / _lengths(slope)
            change = _inside(change + length * way, radius, norm)
    return (images + change).clamp(0, 1)


def _uniform(images: Tensor, rng: torch.Generator) -> Tensor:
    """As many draws from [0, 1) as images have values; an accelerator makes its own, for the CPU
    would hold it up.
    """
    if images.device.type != "cpu":
        rng = torch.Generator(images.device).manual_seed(
            int(torch.randint(2**62, (), generator=rng))
        )
    return torch.rand(images.shape, generator=rng, device=images.device)


def _inside(change: Tensor, radius: float, norm: str) -> Tensor:
    if norm == "linf":
        return change.clamp(-radius, radius)
    shorter: Tensor = change * (radius / _lengths(change)).clamp(max=1)
    return shorter


def _lengths(tensor: Tensor) -> Tensor:
    lengths: Tensor = tensor.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
    return lengths
