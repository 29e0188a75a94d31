"""The smallest change that fools: for each image the least eps, in the L-inf and in the L2 norm."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import length, scaled
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.config.units import Count
from robustbench_aigi.imaging.pixels import LEVELS
from robustbench_aigi.io.hashing import Draws

SHARE = 0.05
"""By how much the radius changes at first."""
FINEST = 0.002
"""By how much it changes in the end, where it is no whole number."""
FIRST = 16
"""Grey levels of every value in the widest first ball: where a detector is flat, the guess passes
all that is near.
"""


@dataclass(frozen=True, kw_only=True)
class FMN(Attack):
    """Descent in a ball that shrinks where the detector is fooled and grows where it is not.

    Every iterate is judged as rounded, so the eps reported is one that a PNG keeps. Images it does
    not fool keep their clean pixels. Source: Pintor et al., Fast Minimum-Norm Attacks, NeurIPS
    2021.
    """

    steps: Count = 100

    access = "gradients"

    def budget(self) -> Budget:
        """None: the size of the change is what is asked."""
        return Budget()

    @abstractmethod
    def guess(self, margins: Tensor, gradient: Tensor) -> Tensor:
        """The radius at which a linear detector would be fooled, in grey levels, ``(M, 1, 1,
        1)``.
        """

    @abstractmethod
    def shrunk(self, size: Tensor, share: float) -> Tensor:
        """A radius below the size of a change that fools."""

    @abstractmethod
    def grown(self, radius: Tensor, share: float) -> Tensor:
        """A radius above one that does not fool."""

    @abstractmethod
    def size(self, change: Tensor) -> Tensor:
        """The norm, in grey levels, ``(M, 1, 1, 1)``."""

    @abstractmethod
    def moved(self, change: Tensor, gradient: Tensor, radius: Tensor, share: float) -> Tensor:
        """The change after a step along the slope, inside the ball of the radius."""

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Walk along the boundary, ever more finely; the oracle keeps the nearest image that
        fools.
        """
        which = oracle.active()
        if not len(which):
            return
        clean = oracle.images[which]
        change, radius, best = (
            torch.zeros_like(clean),
            None,
            torch.full((len(which), 1, 1, 1), math.inf),
        )
        widest = self.size(torch.full_like(clean, FIRST))
        for step in range(self.steps):
            share = 0.5 * (1 + math.cos(math.pi * step / self.steps))
            shown = (clean + change).round().clamp(0, LEVELS)
            margins, gradient = oracle.submit_with_gradient(shown, which)
            fools = (margins < 0).view(-1, 1, 1, 1)
            best = torch.where(fools, torch.minimum(best, self.size(shown - clean)), best)
            if radius is None:
                radius = torch.minimum(self.guess(margins, gradient), widest)
            else:
                grown = torch.where(best.isinf(), self.grown(radius, 1), self.grown(radius, share))
                radius = torch.where(fools, self.shrunk(torch.minimum(radius, best), share), grown)
            radius = torch.minimum(radius, self.shrunk(best, share))
            change = (clean + self.moved(change, gradient, radius, share)).clamp(0, LEVELS) - clean
        oracle.submit((clean + change).round().clamp(0, LEVELS), which)


@attacks.add("fmn-linf")
@final
@dataclass(frozen=True, kw_only=True)
class FMNLinf(FMN):
    """FMN: the smallest L-inf change that flips an image; ``Result.linf`` is its eps in whole grey
    levels.
    """

    minimises = "linf"

    def guess(self, margins: Tensor, gradient: Tensor) -> Tensor:
        """Rounded up to a whole level."""
        rate = gradient.abs().sum(dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
        return (margins.view(-1, 1, 1, 1) / rate).ceil().clamp(min=1)

    def shrunk(self, size: Tensor, share: float) -> Tensor:
        """A twentieth less to begin with, a level less in the end."""
        return torch.minimum(size - 1, (size * (1 - SHARE * share)).floor())

    def grown(self, radius: Tensor, share: float) -> Tensor:
        """A twentieth more to begin with, a level more in the end."""
        return torch.maximum(radius + 1, (radius * (1 + SHARE * share)).ceil())

    def size(self, change: Tensor) -> Tensor:
        """The largest change of a value."""
        return change.abs().amax(dim=(1, 2, 3), keepdim=True)

    def moved(self, change: Tensor, gradient: Tensor, radius: Tensor, share: float) -> Tensor:
        """Whole levels by the sign of the slope."""
        step = (share * radius).ceil().clamp(min=1)
        return torch.minimum(torch.maximum(change + step * gradient.sign(), -radius), radius)


@attacks.add("fmn-l2")
@final
@dataclass(frozen=True, kw_only=True)
class FMNL2(FMN):
    """FMN: the smallest L2 change that flips an image, in the [0, 1]-pixel norm as
    ``Result.l2``.
    """

    minimises = "l2"

    def guess(self, margins: Tensor, gradient: Tensor) -> Tensor:
        """Along the slope."""
        return margins.view(-1, 1, 1, 1) / length(gradient).clamp(min=1e-30)

    def shrunk(self, size: Tensor, share: float) -> Tensor:
        """A twentieth less to begin with, next to nothing in the end."""
        return size * (1 - max(SHARE * share, FINEST))

    def grown(self, radius: Tensor, share: float) -> Tensor:
        """A twentieth more to begin with, next to nothing in the end."""
        return radius * (1 + max(SHARE * share, FINEST))

    def size(self, change: Tensor) -> Tensor:
        """The length."""
        return length(change)

    def moved(self, change: Tensor, gradient: Tensor, radius: Tensor, share: float) -> Tensor:
        """A step along the slope, as long as the radius to begin with, then back into the ball."""
        change = change + max(share, SHARE) * radius * scaled(gradient, 1.0)
        return change * (radius / length(change).clamp(min=1e-12)).clamp(max=1)
