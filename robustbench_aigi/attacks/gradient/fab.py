"""FAB: the way to the decision boundary that changes least, in the L-inf and in the L2 ball."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.config.units import Count
from robustbench_aigi.imaging.pixels import LEVELS
from robustbench_aigi.io.hashing import Draws

ROUNDS = 10
"""Rounds after which the values that meet the ends of the pixel range have been found."""
MOST_BIAS = 0.1
"""Largest share of a step that is taken from the clean image instead of the present one."""
OVERSHOOT = 1.05
BACK = 0.9
"""Share of a change that fools from which the search goes on, nearer to the clean image."""


@dataclass(frozen=True, kw_only=True)
class FAB(Ball):
    """Steps to where the detector, taken as linear, would change its mind. Source: Croce and Hein,
    ICML 2020.

    The search moves between grey levels, because the boundary is often less than one away; what
    fools inside the ball is stretched to its rim, rounded and scored. With one logit there is one
    boundary, so no classes are to be targeted.
    """

    steps: Count = 50
    restarts: Count = 1

    access = "gradients"

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Search from the clean image, then from random starts."""
        for turn in range(self.restarts):
            which = oracle.active()
            if not len(which):
                return
            clean = oracle.images[which]
            change = torch.zeros_like(clean)
            if turn:
                starts = torch.stack([self.start(clean[0], rngs[i]) for i in which.tolist()])
                change = self.project(starts / 2, clean)
            self._search(oracle, which, clean, change)

    def _search(self, oracle: Oracle, which: Tensor, clean: Tensor, change: Tensor) -> None:
        nothing_kept = torch.zeros(len(which), dtype=torch.bool)
        for _ in range(self.steps):
            margins, gradient = oracle.submit_with_gradient(
                clean + change, which, kept=nothing_kept[: len(which)]
            )
            across = (margins < 0) & (self.size(change).flatten() <= self.radius)
            if bool(across.any()):
                rim = change[across] * (self.radius / self.size(change[across]).clamp(min=1e-12))
                shown = self.quantise(self.project(rim, clean[across]), clean[across])
                oracle.submit(shown, which[across])
            which, clean, change, gradient, margins, across = oracle.remaining(
                which, clean, change, gradient, margins, across
            )
            if not len(which):
                return
            change = torch.where(
                across.view(-1, 1, 1, 1),
                BACK * change,
                self._step(clean, change, gradient, margins),
            )
        shown = self.quantise(self.project(change, clean), clean)
        oracle.submit(shown, which)

    def _step(self, clean: Tensor, change: Tensor, gradient: Tensor, margins: Tensor) -> Tensor:
        """Towards the linear boundary, from the present image and, for a share, from the
        clean one.
        """
        low, high = -clean, LEVELS - clean
        here = margins.view(-1, 1, 1, 1)
        onward = nearest(self, gradient, here, low - change, high - change)
        outright = nearest(self, gradient, here + total(gradient * change), low, high)
        near, far = self.size(onward), self.size(outright)
        bias = (near / (near + far).clamp(min=1e-12)).clamp(max=MOST_BIAS)
        mixed = (1 - bias) * (change + OVERSHOOT * onward) + bias * OVERSHOOT * outright
        return mixed.clamp(low, high)


def nearest(ball: Ball, gradient: Tensor, fall: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The least change, in the ball's norm, within ``[low, high]`` along which a linear margin
    falls by ``fall``.

    Without the bounds it is a multiple of one direction. Values that meet a bound stay there, and
    the others go on until they make up for them; each round can only add to those that have met
    theirs.

    Args:
        slope: ``(M, 3, H, W)`` fall of the margin per grey level. fall: ``(M, 1, 1, 1)``, below
            zero to climb back.
    """
    gradient = gradient * fall.sign()
    direction = ball.steepest_step(gradient)
    rate, wanted = gradient * direction, fall.abs()
    times = wanted / total(rate).clamp(min=1e-30)
    for _ in range(ROUNDS):
        change = times * direction
        bounded = change.clamp(low, high)
        free = bounded == change
        missing = wanted - total(torch.where(free, 0, gradient * bounded))
        times = torch.maximum(times, missing / total(torch.where(free, rate, 0)).clamp(min=1e-30))
    return (times * direction).nan_to_num(posinf=LEVELS, neginf=-LEVELS).clamp(low, high)


def total(values: Tensor) -> Tensor:
    """Sum of each image's values, ``(M, 1, 1, 1)``."""
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
    """FAB: steps to the nearest decision boundary, in the L2 ball; ``eps`` in the [0, 1]-pixel
    norm.
    """
