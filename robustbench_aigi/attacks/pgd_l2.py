"""PGD in the L2 ball."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks.base import Budget, attacks
from robustbench_aigi.attacks.pgd import PGD
from robustbench_aigi.grid import LEVELS


@attacks.add("pgd-l2")
@final
@dataclass(frozen=True, kw_only=True)
class PGDL2(PGD):
    """Normalised-gradient steps. ``eps`` and ``step`` in the [0, 1]-pixel norm. Source: Madry et al., ICLR 2018.

    The change is kept unrounded between steps, so that small slopes add up; every image shown is rounded and checked.
    """

    eps: float = 1.0
    step: float = 0.25

    def budget(self) -> Budget:
        """``eps`` as the norm of the whole image's change."""
        return Budget(l2=self.eps)

    def start(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Uniform in the ball."""
        direction = torch.randn(like.shape, generator=rng, dtype=like.dtype)
        radius: float = torch.rand((), generator=rng).item() ** (1 / like.numel()) * self.eps * LEVELS
        return direction * (radius / float(torch.linalg.vector_norm(direction)))

    def move(self, slope: Tensor) -> Tensor:
        """A step of length ``step`` along the slope; none where the slope is zero."""
        return scaled(slope, self.step * LEVELS)

    def inside(self, change: Tensor, clean: Tensor) -> Tensor:
        """Clamp to [0, 255], then shrink to the ball: shrinking keeps the clamp."""
        change = (clean + change).clamp(0, 255) - clean
        norm = length(change)
        return change * (self.eps * LEVELS / norm.clamp(min=1e-12)).clamp(max=1)

    def on_grid(self, change: Tensor, clean: Tensor) -> Tensor:
        """Round; where that leaves the ball shrink a little and round again, at last towards the clean image."""
        most = self.eps * LEVELS
        rounded = change.round()
        for _ in range(3):
            over = length(rounded) > most
            if not bool(over.any()):
                return clean + rounded
            change = torch.where(over, change * (0.999 * most / length(rounded)), change)
            rounded = change.round()
        return clean + torch.where(length(rounded) > most, change.trunc(), rounded)


def length(change: Tensor) -> Tensor:
    """L2 norm of each image's change, shaped ``(N, 1, 1, 1)``."""
    lengths: Tensor = torch.linalg.vector_norm(change, dim=(1, 2, 3), keepdim=True)
    return lengths


def scaled(slope: Tensor, size: float) -> Tensor:
    """Give each image's slope the length ``size``; a zero slope stays zero."""
    largest = slope.flatten(1).abs().amax(dim=1).view(-1, 1, 1, 1)
    slope = slope / torch.where(largest > 0, largest, 1)
    norm = length(slope)
    return size * slope / torch.where(norm > 0, norm, 1)
