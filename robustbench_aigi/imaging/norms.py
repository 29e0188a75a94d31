"""Norms of the change between an attacked and a clean image."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch import Tensor

from robustbench_aigi.imaging.pixels import MAX_LEVEL

Distance = Callable[[Tensor, Tensor], Tensor]
"""From attacked and clean images in grey levels to one number per image, ``(N,)``."""


class Norms(NamedTuple):
    """Norms of a change, ``(N,)`` each.

    Attributes:
        linf: in grey levels.
        l2: in the [0, 1]-pixel norm.
        l0: number of changed pixels.
    """

    linf: Tensor
    l2: Tensor
    l0: Tensor


def norms(attacked: Tensor, clean: Tensor) -> Norms:
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
    change = (attacked - clean).abs().to(torch.int64).flatten(2)
    linf = change.amax(dim=(1, 2))
    squares = change.square().sum(dim=(1, 2))
    l0 = (change.amax(dim=1) > 0).sum(dim=1)
    return Norms(linf, squares.double().sqrt() / MAX_LEVEL, l0)


NORM_FUNCTIONS: Mapping[str, Distance] = MappingProxyType(
    {
        "linf": lambda attacked, clean: norms(attacked, clean).linf,
        "l2": lambda attacked, clean: norms(attacked, clean).l2,
        "l0": lambda attacked, clean: norms(attacked, clean).l0,
    }
)
"""Name of a norm to the distance that a minimum-norm attack makes small."""
