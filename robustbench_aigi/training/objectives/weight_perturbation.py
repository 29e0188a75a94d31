"""Adversarial weight perturbation: gradients are taken where nearby weights raise the loss."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

MIN_LENGTH = 1e-12
"""Gradients are divided by no less than this."""


@contextmanager
def perturbed_weights(part: nn.Module, loss: Callable[[], Tensor], share: float) -> Iterator[None]:
    """Move every matrix of a module along the gradient of a loss, inside a ``with`` block.

    Source: Wu, Xia and Wang, Adversarial Weight Perturbation Helps Robust Generalization, NeurIPS
        2020.

    Args:
        part: the module in training.
        loss: of the batch, as a function of the weights.
        share: length of the move, as a share of a matrix's norm; 0 moves nothing.
    """
    matrices = [p for p in part.parameters() if p.requires_grad and p.ndim > 1] if share else []
    if not matrices:
        yield
        return
    gradients = torch.autograd.grad(loss(), matrices, allow_unused=True)
    own = [p.detach().clone() for p in matrices]
    with torch.no_grad():
        for weight, gradient in zip(matrices, gradients, strict=True):
            if gradient is not None:
                length = share * weight.norm() / gradient.norm().clamp(min=MIN_LENGTH)
                weight.add_(gradient, alpha=float(length))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight, before in zip(matrices, own, strict=True):
                weight.copy_(before)
