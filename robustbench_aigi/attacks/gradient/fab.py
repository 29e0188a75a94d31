"""FAB: the smallest step to the decision boundary, in the L-inf and in the L2 ball."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.config.units import Count
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.io.hashing import Draws

BOUND_ROUNDS = 10
"""Rounds after which the values that meet the ends of the pixel range have been found."""
MAX_BIAS = 0.1
"""Largest share of a step that is taken from the clean image instead of the present one."""
OVERSHOOT_FACTOR = 1.05
"""Length of a step, relative to the distance of the linear boundary."""
BACKWARD_FACTOR = 0.9
"""Share of a change that fools from which the search continues, nearer to the clean image."""


@dataclass(frozen=True, kw_only=True)
class FAB(Ball):
    """Steps to where the detector, taken as linear, would change its verdict.

    The search moves between grey levels, because the boundary is often less than one away; what
    fools inside the ball is stretched to its rim, rounded and scored. With one logit there is one
    boundary, so there is no class to target. Source: Croce and Hein, ICML 2020.

    Args:
        steps: gradient steps per start.
        restarts: starts; the first is the clean image, the others are random.
    """

    steps: Count = 50
    restarts: Count = 1

    access = "gradients"

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Search ``oracle`` from the clean images, then from random starts in ``rngs``."""
        for turn in range(self.restarts):
            which = oracle.active()
            if not len(which):
                return
            clean = oracle.images[which]
            change = torch.zeros_like(clean)
            if turn:
                starts = [self.random_change(clean[0], rngs[i]) for i in which.tolist()]
                change = self.project(torch.stack(starts) / 2, clean)
            self._search(oracle, which, clean, change)

    def _search(self, oracle: Oracle, which: Tensor, clean: Tensor, change: Tensor) -> None:
        none_allowed = torch.zeros_like(which, dtype=torch.bool)
        for _ in range(self.steps):
            margins, gradient = oracle.submit_with_gradient(
                clean + change, which, allowed=none_allowed[: len(which)]
            )
            across = (margins < 0) & (self.size(change).flatten() <= self.radius)
            if bool(across.any()):
                self._submit_at_rim(oracle, which[across], clean[across], change[across])
            which, clean, change, gradient, margins, across = oracle.remaining(
                which, clean, change, gradient, margins, across
            )
            if not len(which):
                return
            change = torch.where(
                across.view(-1, 1, 1, 1),
                BACKWARD_FACTOR * change,
                self._step(clean, change, gradient, margins),
            )
        oracle.submit(self.quantise(self.project(change, clean), clean), which)

    def _submit_at_rim(self, oracle: Oracle, which: Tensor, clean: Tensor, change: Tensor) -> None:
        """Stretch changes to the rim of the ball, so that rounding cannot undo them, and score."""
        rim = change * (self.radius / self.size(change).clamp(min=1e-12))
        oracle.submit(self.quantise(self.project(rim, clean), clean), which)

    def _step(self, clean: Tensor, change: Tensor, gradient: Tensor, margins: Tensor) -> Tensor:
        """Return the change after a step towards the linear boundary.

        It leads from the present image and, for a share, from the clean one.
        """
        low = -clean
        high = MAX_LEVEL - clean
        here = margins.view(-1, 1, 1, 1)
        onward = nearest(self, gradient, here, low - change, high - change)
        outright = nearest(self, gradient, here + total(gradient * change), low, high)
        near = self.size(onward)
        far = self.size(outright)
        bias = (near / (near + far).clamp(min=1e-12)).clamp(max=MAX_BIAS)
        from_present = change + OVERSHOOT_FACTOR * onward
        mixed = (1 - bias) * from_present + bias * OVERSHOOT_FACTOR * outright
        return mixed.clamp(low, high)


def nearest(ball: Ball, gradient: Tensor, fall: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the smallest change within bounds along which a linear margin falls by ``fall``.

    Without the bounds it is a multiple of one direction. Values that meet a bound stay there, and
    the others move on until they make up for them; each round can only add to those that have met
    theirs.

    Args:
        ball: whose norm is meant.
        gradient: ``(M, 3, H, W)``, fall of the margin per grey level.
        fall: ``(M, 1, 1, 1)``, below zero to climb back.
        low: lower bound of each value of the change, ``(M, 3, H, W)``.
        high: upper bound of each value, of the same shape.
    """
    gradient = gradient * fall.sign()
    direction = ball.steepest_step(gradient)
    rate = gradient * direction
    wanted = fall.abs()
    times = wanted / total(rate).clamp(min=1e-30)
    for _ in range(BOUND_ROUNDS):
        change = times * direction
        bounded = change.clamp(low, high)
        free = bounded == change
        missing = wanted - total(torch.where(free, 0, gradient * bounded))
        times = torch.maximum(times, missing / total(torch.where(free, rate, 0)).clamp(min=1e-30))
    return (times * direction).nan_to_num(posinf=MAX_LEVEL, neginf=-MAX_LEVEL).clamp(low, high)


def total(values: Tensor) -> Tensor:
    """Return the sum of each image's values, ``(M, 1, 1, 1)``.

    Args:
        values: ``(M, 3, H, W)``.

    Example:
        >>> total(torch.ones(1, 3, 2, 2)).shape
        torch.Size([1, 1, 1, 1])
    """
    return values.sum(dim=(1, 2, 3), keepdim=True)


@attacks.add("fab-linf")
@final
@dataclass(frozen=True, kw_only=True)
class FABLinf(LinfBall, FAB):
    """FAB: steps to the nearest decision boundary, in the L-inf ball; ``eps`` in grey levels."""


@attacks.add("fab-l2")
@final
@dataclass(frozen=True, kw_only=True)
class FABL2(L2Ball, FAB):
    """FAB: steps to the nearest decision boundary, in L2; ``eps`` in the [0, 1]-pixel norm."""
