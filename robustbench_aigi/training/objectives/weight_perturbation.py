"""Adversarial weight perturbation: the loss is lowered where the weights near by have it
highest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def moved_weights(part: nn.Module, loss: Callable[[], Tensor], share: float) -> Iterator[None]:
    """Inside, every matrix of a part is moved uphill by ``share`` of its norm; gradients taken
    there are the update's.

    Source: Wu, Xia and Wang, Adversarial Weight Perturbation Helps Robust Generalization, NeurIPS
        2020.
    """
    matrices = [p for p in part.parameters() if p.requires_grad and p.ndim > 1] if share else []
    if not matrices:
        yield
        return
    slopes = torch.autograd.grad(loss(), matrices, allow_unused=True)
    own = [p.detach().clone() for p in matrices]
    with torch.no_grad():
        for weight, slope in zip(matrices, slopes, strict=True):
            if slope is not None:
                weight.add_(
                    slope, alpha=float(share * weight.norm() / slope.norm().clamp(min=1e-12))
                )
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(matrices, own, strict=True):
                weight.copy_(before)
