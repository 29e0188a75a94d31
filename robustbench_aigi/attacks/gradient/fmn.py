"""FMN: the smallest change that fools each image, in the L-inf and in the L2 norm."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from robustbench_aigi.attacks._engine.best_seen import rows_at
from robustbench_aigi.attacks._engine.norm_balls import greatest, length, scaled
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.config.units import Count
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.io.hashing import Draws

FIRST_RADIUS_CHANGE = 0.05
"""Relative change of the radius per step at first."""
LAST_RADIUS_CHANGE = 0.002
"""Relative change of the radius per step in the end, where it is not a whole number."""
MAX_FIRST_LEVELS = 16
"""Grey levels of every value in the largest first ball. Where a detector is flat, the linear guess
would pass over everything near.
"""


@dataclass(frozen=True, kw_only=True)
class FMN(Attack):
    """Descent in a ball that shrinks where the detector is fooled and grows where it is not.

    Every iterate is judged as rounded, so the eps reported is one that a PNG keeps. Images it does
    not fool keep their clean pixels. Source: Pintor et al., Fast Minimum-Norm Attacks, NeurIPS
    2021.

    Args:
        steps: gradient steps.
    """

    steps: Count = 100

    access = "gradients"

    def budget(self) -> Budget:
        """Return an empty budget: the size of the change is the result."""
        return Budget()

    @abstractmethod
    def linear_radius(self, margins: Tensor, gradient: Tensor) -> Tensor:
        """Return the radius at which a linear detector is fooled, in grey levels ``(M, 1, 1, 1)``.

        Args:
            margins: ``(M,)``.
            gradient: ``(M, 3, H, W)``, fall of the margin per grey level.
        """

    @abstractmethod
    def shrunk(self, size: Tensor, share: float) -> Tensor:
        """Return a radius below the size of a change that fools.

        Args:
            size: ``(M, 1, 1, 1)`` in grey levels.
            share: of the first change of the radius, from 1 down to 0.
        """

    @abstractmethod
    def grown(self, radius: Tensor, share: float) -> Tensor:
        """Return a radius above one that does not fool.

        Args:
            radius: ``(M, 1, 1, 1)`` in grey levels.
            share: of the first change of the radius, from 1 down to 0.
        """

    @abstractmethod
    def size(self, change: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 1 1 1"]:
        """Return the norm of each change in grey levels, ``(M, 1, 1, 1)``.

        Args:
            change: ``(M, 3, H, W)`` in grey levels.
        """

    @abstractmethod
    def moved(self, change: Tensor, gradient: Tensor, radius: Tensor, share: float) -> Tensor:
        """Return the change after a step along the gradient, inside the ball of the radius.

        Args:
            change: ``(M, 3, H, W)`` in grey levels.
            gradient: of the same shape.
            radius: ``(M, 1, 1, 1)`` in grey levels.
            share: of the first step's length, from 1 down to 0.
        """

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Follow the boundary with ever smaller steps; ``rngs`` stay unused.

        The ``oracle`` keeps the nearest image that fools.
        """
        which = oracle.active()
        if not len(which):
            return
        clean = rows_at(which, oracle.images)
        change = torch.zeros_like(clean)
        radius = None
        best = clean.new_full((len(which), 1, 1, 1), math.inf)
        widest = self.size(torch.full_like(clean, MAX_FIRST_LEVELS))
        for step in range(self.steps):
            share = 0.5 * (1 + math.cos(math.pi * step / self.steps))
            shown = (clean + change).round_().clamp_(0, MAX_LEVEL)
            margins, gradient = oracle.submit_with_gradient(shown, which)
            fools = (margins < 0).view(-1, 1, 1, 1)
            best = torch.where(fools, torch.minimum(best, self.size(shown.sub_(clean))), best)
            if radius is None:
                radius = torch.minimum(self.linear_radius(margins, gradient), widest)
            else:
                radius = self._adapted(radius, best, fools, share)
            radius = torch.minimum(radius, self.shrunk(best, share))
            moved = self.moved(change, gradient, radius, share)
            change = moved.add_(clean).clamp_(0, MAX_LEVEL).sub_(clean)
        oracle.submit((clean + change).round_().clamp_(0, MAX_LEVEL), which)

    def _adapted(self, radius: Tensor, best: Tensor, fools: Tensor, share: float) -> Tensor:
        """Return the radius after an iterate; it grows fully while nothing has fooled yet."""
        grown = torch.where(best.isinf(), self.grown(radius, 1), self.grown(radius, share))
        return torch.where(fools, self.shrunk(torch.minimum(radius, best), share), grown)


@attacks.add("fmn-linf")
@final
@dataclass(frozen=True, kw_only=True)
class FMNLinf(FMN):
    """FMN: the smallest L-inf change that flips an image; ``Result.linf`` is its eps in levels."""

    minimises = "linf"

    def linear_radius(self, margins: Tensor, gradient: Tensor) -> Tensor:
        """Return ``margins`` over the L1 norm of ``gradient``, rounded up to a whole level."""
        rate: Tensor = torch.linalg.vector_norm(gradient, 1, dim=(1, 2, 3), keepdim=True)
        return (margins.view(-1, 1, 1, 1) / rate.clamp(min=1e-30)).ceil().clamp(min=1)

    def shrunk(self, size: Tensor, share: float) -> Tensor:
        """Lower ``size`` by ``share`` of the first change, but by at least one level."""
        return torch.minimum(size - 1, (size * (1 - FIRST_RADIUS_CHANGE * share)).floor())

    def grown(self, radius: Tensor, share: float) -> Tensor:
        """Raise ``radius`` by ``share`` of the first change, but by at least one level."""
        return torch.maximum(radius + 1, (radius * (1 + FIRST_RADIUS_CHANGE * share)).ceil())

    def size(self, change: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 1 1 1"]:
        """Return the largest absolute value of each ``change``."""
        return greatest(change)

    def moved(self, change: Tensor, gradient: Tensor, radius: Tensor, share: float) -> Tensor:
        """Move ``change`` by whole levels, ``share`` of ``radius``, by the sign of ``gradient``."""
        step = (share * radius).ceil().clamp(min=1)
        moved = gradient.sign().mul_(step).add_(change)
        return moved.clamp_(-radius, radius)


@attacks.add("fmn-l2")
@final
@dataclass(frozen=True, kw_only=True)
class FMNL2(FMN):
    """FMN: the smallest L2 change that flips an image, in the norm of ``Result.l2``."""

    minimises = "l2"

    def linear_radius(self, margins: Tensor, gradient: Tensor) -> Tensor:
        """Return ``margins`` over the L2 norm of ``gradient``."""
        return margins.view(-1, 1, 1, 1) / length(gradient).clamp(min=1e-30)

    def shrunk(self, size: Tensor, share: float) -> Tensor:
        """Lower ``size`` by ``share`` of the first change, but by at least the last one."""
        return size * (1 - max(FIRST_RADIUS_CHANGE * share, LAST_RADIUS_CHANGE))

    def grown(self, radius: Tensor, share: float) -> Tensor:
        """Raise ``radius`` by ``share`` of the first change, but by at least the last one."""
        return radius * (1 + max(FIRST_RADIUS_CHANGE * share, LAST_RADIUS_CHANGE))

    def size(self, change: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 1 1 1"]:
        """Return the L2 norm of each ``change``."""
        return length(change)

    def moved(self, change: Tensor, gradient: Tensor, radius: Tensor, share: float) -> Tensor:
        """Move ``change`` by ``share`` of ``radius`` along ``gradient``, then project it."""
        step = max(share, FIRST_RADIUS_CHANGE) * radius
        moved = change + scaled(gradient, 1.0).mul_(step)
        return moved.mul_((radius / length(moved).clamp(min=1e-12)).clamp(max=1))
