"""PGD on a few pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.attacks.oracle import Oracle
from robustbench_aigi.grid import LEVELS


@attacks.add("pgd-l0")
@final
@dataclass(frozen=True, kw_only=True)
class PGDL0(Attack):
    """Descent on the margin, after each step cut to the ``pixels`` whose change counts most.

    Source: Croce and Hein, Sparse and Imperceivable Adversarial Attacks, ICCV 2019 (PGD0).

    Args:
        step: length of a step in the L1 norm over grey levels, a pixel that may change.
    """

    access = "gradients"

    pixels: int = 5
    steps: int = 50
    step: float = 200

    def budget(self) -> Budget:
        """``pixels`` pixels, of any colour."""
        return Budget(l0=self.pixels)

    def perturb(self, oracle: Oracle, rngs: Sequence[torch.Generator]) -> None:
        """Step, cut, round, score; drop what is fooled."""
        which = oracle.active()
        clean = oracle.images[which]
        change = torch.zeros_like(clean)
        for _ in range(self.steps):
            if not len(which):
                return
            _, slope = oracle.ascend((clean + change).round(), which)
            still = torch.isin(which, oracle.active())
            which, clean, change, slope = (t[still] for t in (which, clean, change, slope))
            total = slope.abs().flatten(1).sum(dim=1).clamp(min=1e-30).view(-1, 1, 1, 1)
            change = self.cut(change + self.step * self.pixels * slope / total, clean)
        if len(which):
            oracle.score((clean + change).round(), which)

    def cut(self, change: Tensor, clean: Tensor) -> Tensor:
        """Clamp to [0, 255] and keep the pixels whose keeping brings the result nearest to ``change``."""
        possible = (clean + change).clamp(0, LEVELS) - clean
        gain = (change.square() - (change - possible).square()).sum(dim=1)
        best = gain.flatten(1).topk(min(self.pixels, gain[0].numel()), dim=1).indices
        kept = torch.zeros_like(gain).flatten(1).scatter(1, best, 1).view_as(gain)
        return possible * kept.unsqueeze(1)
