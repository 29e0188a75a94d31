"""PGD in the L-inf ball."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks.base import Budget, attacks
from robustbench_aigi.attacks.pgd import PGD


@attacks.add("pgd-linf")
@final
@dataclass(frozen=True, kw_only=True)
class PGDLinf(PGD):
    """Sign-gradient steps; ``eps`` and ``step`` in whole grey levels. Source: Madry et al., ICLR 2018."""

    def budget(self) -> Budget:
        """``eps`` grey levels on every pixel."""
        return Budget(linf=self.eps)

    def start(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Uniform whole grey levels."""
        return torch.randint(-int(self.eps), int(self.eps) + 1, like.shape, generator=rng).to(like)

    def move(self, slope: Tensor) -> Tensor:
        """``step`` levels by the sign of the slope."""
        return self.step * slope.sign()

    def inside(self, change: Tensor, clean: Tensor) -> Tensor:
        """Clamp each value to the whole levels within ``eps``, then to [0, 255]."""
        most = int(self.eps)
        return (clean + change.clamp(-most, most)).clamp(0, 255) - clean
