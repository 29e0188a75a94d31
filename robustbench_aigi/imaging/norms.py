"""Norms of the change between an attacked and a clean image."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Num
from torch import Tensor

from robustbench_aigi.imaging.pixels import MAX_LEVEL, PART_VALUES

Distance = Callable[[Tensor, Tensor], Tensor]
"""From attacked and clean images in grey levels to one number per image, ``(N,)``."""


class Norms(NamedTuple):
    """Norms of a change, ``(N,)`` each.

    Attributes:
        linf: in grey levels.
        l2: in the [0, 1]-pixel norm.
        l0: number of changed pixels.
    """

    linf: Int[Tensor, " n"]
    l2: Float[Tensor, " n"]
    l0: Int[Tensor, " n"]


def norms(attacked: Num[Tensor, "n 3 h w"], clean: Num[Tensor, "n 3 h w"]) -> Norms:
    """Return the norms of the change between two batches of images.

    Args:
        attacked: ``(N, 3, H, W)`` in grey levels.
        clean: the same shape, in grey levels.

    Example:
        >>> clean = torch.zeros(1, 3, 2, 2)
        >>> attacked = clean.clone()
        >>> attacked[0, 0, 0, 0] = 255
        >>> [float(norm) for norm in norms(attacked, clean)]
        [255.0, 1.0, 1.0]
    """
    # Whole numbers, so that float64 sums are exact in any order.
    if clean.numel() > PART_VALUES:
        return _norms_by_channel(attacked, clean)
    change = (attacked.float() - clean).abs_()
    linf = change.amax(dim=(1, 2, 3)).to(torch.int64)
    l0 = (change.amax(dim=1) > 0).sum(dim=(1, 2))
    return Norms(linf, whole_lengths(change) / MAX_LEVEL, l0)


def whole_lengths(change: Num[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
    """Return the L2 norms of changes in whole grey levels, in float64 ``(N,)``.

    Args:
        change: ``(N, 3, H, W)``, whole numbers, whose sums are exact in any order.

    Example:
        >>> whole_lengths(torch.full((1, 3, 1, 3), 2.0)).tolist()
        [6.0]
    """
    squares = [
        channel.square().sum(dim=(1, 2), dtype=torch.float64) for channel in change.unbind(1)
    ]
    return torch.stack(squares).sum(dim=0).sqrt_()


def _norms_by_channel(attacked: Tensor, clean: Tensor) -> Norms:
    """Return the norms of large images, of which one channel at a time is copied."""
    linf = torch.zeros(len(clean), device=clean.device)
    squares = torch.zeros(len(clean), dtype=torch.float64, device=clean.device)
    is_changed = torch.zeros_like(clean[:, 0], dtype=torch.bool)
    for channel in range(clean.shape[1]):
        change = (attacked[:, channel].float() - clean[:, channel]).abs_()
        linf = linf.maximum(change.amax(dim=(1, 2)))
        is_changed |= change > 0
        squares += change.square_().sum(dim=(1, 2), dtype=torch.float64)
    l0 = is_changed.sum(dim=(1, 2))
    return Norms(linf.to(torch.int64), squares.sqrt() / MAX_LEVEL, l0)


NORM_FUNCTIONS: Mapping[str, Distance] = MappingProxyType(
    {
        "linf": lambda attacked, clean: norms(attacked, clean).linf,
        "l2": lambda attacked, clean: norms(attacked, clean).l2,
        "l0": lambda attacked, clean: norms(attacked, clean).l0,
    }
)
"""Name of a norm to the distance that a minimum-norm attack makes small."""
