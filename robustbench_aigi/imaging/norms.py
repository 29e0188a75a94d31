"""How far an attacked image is from the clean one."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from robustbench_aigi.imaging.pixels import LEVELS

Distance = Callable[[Tensor, Tensor], Tensor]
"""Attacked and clean images in grey levels to one number per image, ``(N,)``."""


def norms(attacked: Tensor, clean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Achieved L-inf (whole grey levels), L2 ([0, 1]-pixel norm) and L0 (pixels), from images in
    grey levels.
    """
    change = (attacked - clean).abs().to(torch.int64).flatten(2)
    linf = change.amax(dim=(1, 2))
    squares = change.square().sum(dim=(1, 2))
    l0 = (change.amax(dim=1) > 0).sum(dim=1)
    return linf, squares.double().sqrt() / LEVELS, l0


NORMS: Mapping[str, Distance] = MappingProxyType(
    {
        "linf": lambda attacked, clean: norms(attacked, clean)[0],
        "l2": lambda attacked, clean: norms(attacked, clean)[1],
        "l0": lambda attacked, clean: norms(attacked, clean)[2],
    }
)
"""Norm to the distance that an oracle keeps least."""
