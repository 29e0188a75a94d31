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
    change = (attacked.float() - clean).abs_()
    linf = change.amax(dim=(1, 2, 3)).to(torch.int64)
    l0 = (change.amax(dim=1) > 0).sum(dim=(1, 2))
    return Norms(linf, whole_lengths(change) / MAX_LEVEL, l0)


def whole_lengths(change: Num[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
    """Return the L2 norms of changes in whole grey levels, in float64 ``(N,)``.

    Such sums are exact in any order, so large images are summed part by part.

    Args:
        change: ``(N, 3, H, W)``, whole numbers.

    Example:
        >>> whole_lengths(torch.full((1, 3, 1, 3), 2.0)).tolist()
        [6.0]
    """
    if change.numel() <= PART_VALUES:
        lengths: Tensor = torch.linalg.vector_norm(change, dim=(1, 2, 3), dtype=torch.float64)
        return lengths
    parts = change.flatten(1).split(PART_VALUES // len(change) + 1, dim=1)
    return torch.stack([part.double().square_().sum(dim=1) for part in parts]).sum(dim=0).sqrt_()


NORM_FUNCTIONS: Mapping[str, Distance] = MappingProxyType(
    {
        "linf": lambda attacked, clean: norms(attacked, clean).linf,
        "l2": lambda attacked, clean: norms(attacked, clean).l2,
        "l0": lambda attacked, clean: norms(attacked, clean).l0,
    }
)
"""Name of a norm to the distance that a minimum-norm attack makes small."""
