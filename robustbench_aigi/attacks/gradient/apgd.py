"""PGD that sets its own step size, in the L-inf and in the L2 ball."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.config.units import Count
from robustbench_aigi.io.hashing import Draws

KEPT = 0.75
"""Share of a step that is new; the rest repeats the last move."""
ENOUGH = 0.75
"""Share of the steps since the last check that must have helped, or the step is halved."""


@dataclass(frozen=True, kw_only=True)
class APGD(Ball):
    """Descent on the margin whose step is halved where it stops helping. Source: Croce and Hein,
    ICML 2020.

    With one logit the cross-entropy, the margin and the DLR loss fall and rise together and have
    slopes of one direction, so APGD-CE and APGD-margin are this one attack; a second run counts as
    a restart.
    """

    steps: Count = 50
    restarts: Count = 1

    access = "gradients"

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Descend from every random start."""
        for _ in range(self.restarts):
            which = oracle.active()
            if len(which):
                self._descend(oracle, which, rngs)

    def _descend(self, oracle: Oracle, which: Tensor, rngs: Draws) -> None:
        clean = oracle.images[which]
        starts = torch.stack([self.start(clean[0], rngs[i]) for i in which.tolist()])
        run = ApgdState.begin(which, clean, self.project(starts, clean), 2 * self.radius)
        checks = checkpoints(self.steps)
        for step in range(self.steps + 1):
            margins, gradient = oracle.submit_with_gradient(
                self.quantise(run.change, run.clean), run.which
            )
            run.note(margins, gradient)
            run = run.only(torch.isin(run.which, oracle.active()))
            if step == self.steps or not len(run.which):
                return
            if step in checks:
                run.check(step - checks[checks.index(step) - 1])
            run.move(self)


def checkpoints(steps: int) -> list[int]:
    """The steps at which progress is checked: ever closer, from 22% of the way, at least 6%
    apart.
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return [round(share * steps) for share in shares if share < 1]


@dataclass
class ApgdState:
    """The state of a descent, a row an image still in it; changes and step sizes are in grey
    levels.
    """

    which: Tensor
    clean: Tensor
    change: Tensor
    before: Tensor
    gradient: Tensor
    size: Tensor
    least: Tensor
    best: Tensor
    best_slope: Tensor
    last: Tensor
    helped: Tensor
    least_then: Tensor
    halved: Tensor

    @classmethod
    def begin(cls, which: Tensor, clean: Tensor, change: Tensor, size: float) -> "ApgdState":
        """Before the first look."""
        count = len(which)
        far = torch.full((count,), float("inf"), dtype=clean.dtype)
        sizes = torch.full((count, 1, 1, 1), size, dtype=clean.dtype)
        zeros = torch.zeros(count, dtype=torch.int64)
        nothing = torch.zeros_like(clean)
        return cls(
            which,
            clean,
            change,
            change,
            nothing,
            sizes,
            far,
            change,
            nothing,
            far,
            zeros,
            far,
            zeros.bool(),
        )

    def only(self, kept: Tensor) -> "ApgdState":
        """The rows that go on."""
        return (
            self if bool(kept.all()) else ApgdState(*(value[kept] for value in vars(self).values()))
        )

    def note(self, margins: Tensor, gradient: Tensor) -> None:
        """Take in the look at the present iterate."""
        self.gradient = gradient
        self.helped = self.helped + (margins < self.last)
        self.last = margins
        better = margins < self.least
        self.least = torch.where(better, margins, self.least)
        rows = better.view(-1, 1, 1, 1)
        self.best = torch.where(rows, self.change, self.best)
        self.best_slope = torch.where(rows, gradient, self.best_slope)

    def check(self, since: int) -> None:
        """Halve the step, and go back to the best iterate, where too few steps helped, or none of a
        whole stretch.
        """
        stuck = (self.least_then <= self.least) & ~self.halved
        halve = (self.helped < ENOUGH * since) | stuck
        rows = halve.view(-1, 1, 1, 1)
        self.size = torch.where(rows, self.size / 2, self.size)
        self.change = torch.where(rows, self.best, self.change)
        self.before = torch.where(rows, self.best, self.before)
        self.gradient = torch.where(rows, self.best_slope, self.gradient)
        self.last = torch.where(halve, self.least, self.last)
        self.helped = torch.zeros_like(self.helped)
        self.least_then, self.halved = self.least, halve

    def move(self, ball: Ball) -> None:
        """A projected step, of which part repeats the last move."""
        ahead = ball.project(
            self.change + self.size * ball.steepest_step(self.gradient), self.clean
        )
        first = (self.change == self.before).flatten(1).all(dim=1).view(-1, 1, 1, 1)
        mixed = (
            self.change + KEPT * (ahead - self.change) + (1 - KEPT) * (self.change - self.before)
        )
        self.before, self.change = (
            self.change,
            ball.project(torch.where(first, ahead, mixed), self.clean),
        )


@attacks.add("apgd-linf")
@final
@dataclass(frozen=True, kw_only=True)
class APGDLinf(LinfBall, APGD):
    """Auto-PGD: gradient descent whose step is halved where it stops helping; L-inf ``eps`` in grey
    levels.
    """


@attacks.add("apgd-l2")
@final
@dataclass(frozen=True, kw_only=True)
class APGDL2(L2Ball, APGD):
    """Auto-PGD: gradient descent whose step is halved where it stops helping; L2 ``eps`` in the [0,
    1]-pixel norm.
    """
