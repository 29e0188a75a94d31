"""Projected gradient descent, in the L-inf and in the L2 ball."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall, scaled
from robustbench_aigi.attacks._engine.oracle import Oracle, chosen
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.config.units import Count, L2Step, LinfStep, Share
from robustbench_aigi.io.hashing import Draws


@dataclass(frozen=True, kw_only=True)
class PGD(Ball):
    """Descent on the margin from random starts. Source: Madry et al., ICLR 2018.

    One pass gives both the score and the slope of an iterate, because every iterate shown is on the
    grid. The margin is the logit itself, so a saturated sigmoid cannot hide the slope.

    Args:
        step: length of a step, in the unit of ``eps``.
        restarts: random starts; those after the first are for the images not yet fooled.
        momentum: share of the last direction that is kept. Source: Dong et al., CVPR 2018.
    """

    step: float = 2
    steps: Count = 10
    restarts: Count = 1
    momentum: Share = 0.0
    random_start: bool = True

    access = "gradients"

    @property
    def starts_from_clean(self) -> bool:
        """Without a random start."""
        return not self.random_start

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Descend from every start."""
        for turn in range(self.restarts):
            which = oracle.active()
            if len(which):
                self._descend(oracle, which, rngs, random_start=self.random_start or turn > 0)

    def _descend(self, oracle: Oracle, which: Tensor, rngs: Draws, *, random_start: bool) -> None:
        """Step, project, round, score; drop what is fooled, and what goes in circles."""
        clean = oracle.images[which]
        change = torch.zeros_like(clean)
        if random_start:
            starts = torch.stack([self.start(clean[0], rngs[i]) for i in which.tolist()])
            change = self.project(starts, clean)
        velocity, circles = torch.zeros_like(clean), Circles(len(oracle.labels))
        hoped = torch.full((len(which),), torch.inf)
        for _ in range(self.steps):
            shown = self.quantise(change, clean)
            new = torch.ones(len(which), dtype=torch.bool)
            if isinstance(self, LinfBall) and not self.momentum:
                new = circles.new(shown, which)
            new &= ~self._already_fooled(oracle, shown, which, new & (hoped < 0))
            which, clean, change, velocity, shown = chosen(
                new, which, clean, change, velocity, shown
            )
            if not len(which):
                return
            margins, gradient = oracle.submit_with_gradient(shown, which)
            which, clean, change, velocity, margins, gradient = oracle.remaining(
                which, clean, change, velocity, margins, gradient
            )
            velocity = (
                self.momentum * velocity + scaled(gradient, 1.0) if self.momentum else gradient
            )
            moved = self.project(
                change + self.step * self.unit * self.steepest_step(velocity), clean
            )
            hoped, change = margins - (gradient * (moved - change)).sum(dim=(1, 2, 3)), moved
        if len(which):
            oracle.submit(self.quantise(change, clean), which)

    @staticmethod
    def _already_fooled(oracle: Oracle, shown: Tensor, which: Tensor, likely: Tensor) -> Tensor:
        """Score iterates that the last slope promises will fool, because a score costs a third of a
        slope.
        """
        if oracle.full or not bool(likely.any()):
            return torch.zeros_like(likely)
        oracle.submit(shown[likely], which[likely])
        return ~torch.isin(which, oracle.active())


class Circles:
    """Finds iterates that were seen before: a fixed sign step then repeats for ever, and need not
    be taken again.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen: list[Tensor] = []
        self._weights = torch.empty(0, dtype=torch.int64)

    def new(self, shown: Tensor, which: Tensor) -> Tensor:
        """``(M,)`` whether iterates ``(M, 3, H, W)`` of the images ``which`` are seen for the first
        time.
        """
        if not len(self._weights):
            rng = torch.Generator().manual_seed(0)
            self._weights = torch.randint(-(2**62), 2**62, (shown[0].numel(),), generator=rng)
        own = (shown.flatten(1).to(torch.int64) * self._weights).sum(dim=1)
        fresh = torch.ones(len(which), dtype=torch.bool)
        for earlier in self._seen:
            fresh &= earlier[which] != own
        row = torch.zeros(self._count, dtype=torch.int64)
        row[which] = own
        self._seen.append(row)
        return fresh


@attacks.add("pgd-linf")
@final
@dataclass(frozen=True, kw_only=True)
class PGDLinf(LinfBall, PGD):
    """PGD: sign-gradient steps in the L-inf ball; ``eps`` and ``step`` in grey levels."""

    step: LinfStep = 2


@attacks.add("pgd-l2")
@final
@dataclass(frozen=True, kw_only=True)
class PGDL2(L2Ball, PGD):
    """PGD: normalised-gradient steps in the L2 ball; ``eps`` and ``step`` in the [0, 1]-pixel
    norm.
    """

    step: L2Step = 0.25
