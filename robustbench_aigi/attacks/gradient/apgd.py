"""PGD that sets its own step size, in the L-inf and in the L2 ball."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.best_seen import replaced_rows, rows_at
from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.config.units import Count
from robustbench_aigi.io.hashing import Draws

NEW_MOVE_SHARE = 0.75
"""Share of a step that is new; the rest repeats the last move."""
MIN_HELPFUL_SHARE = 0.75
"""Share of the steps since the last check that must have helped, or the step is halved."""


@dataclass(frozen=True, kw_only=True)
class APGD(Ball):
    """Descent on the margin with a step that is halved where it stops helping.

    With one logit the cross-entropy, the margin and the DLR loss fall and rise together and their
    gradients have one direction, so APGD-CE and APGD-margin are this one attack; a second run
    counts as a restart. Source: Croce and Hein, ICML 2020.

    Args:
        steps: gradient steps per start.
        restarts: random starts; those after the first are for the images not yet fooled.
    """

    steps: Count = 50
    restarts: Count = 1

    access = "gradients"

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Descend on the active images of ``oracle`` from every random start in ``rngs``."""
        for _ in range(self.restarts):
            which = oracle.active()
            if len(which):
                self._descend(oracle, which, rngs)

    def _descend(self, oracle: Oracle, which: Tensor, rngs: Draws) -> None:
        clean = rows_at(which, oracle.images)
        starts = torch.stack([self.random_change(clean[0], rngs[i]) for i in which.tolist()])
        state = APGDState.begin(which, clean, self.project(starts, clean), 2 * self.radius)
        checks = checkpoints(self.steps)
        for step in range(self.steps + 1):
            shown = self.quantise(state.change, state.clean)
            margins, gradient = oracle.submit_with_gradient(shown, state.which)
            state.note(margins, gradient)
            state = state.only(oracle.is_active(state.which))
            if step == self.steps or not len(state.which):
                return
            if step in checks:
                state.check(step - checks[checks.index(step) - 1])
            state.move(self)


def checkpoints(steps: int) -> list[int]:
    """Return the steps at which progress is checked.

    The first is at 22% of the way; they come ever closer, but at least 6% apart.

    Args:
        steps: of the whole descent.

    Example:
        >>> checkpoints(100)
        [0, 22, 41, 57, 70, 80, 87, 93, 99]
    """
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return [round(share * steps) for share in shares if share < 1]


@dataclass
class APGDState:
    """The state of a descent, one row per image still in it; lengths are in grey levels.

    Attributes:
        which: indices of the images.
        clean: the clean images.
        change: the present iterate, as a change.
        previous: the iterate before it.
        gradient: at the present iterate.
        size: ``(M, 1, 1, 1)``, length of a step.
        least: ``(M,)``, the smallest margin so far.
        best: the iterate with the smallest margin.
        best_gradient: its gradient.
        last: ``(M,)``, the margin at the step before.
        helped: ``(M,)``, steps since the last check that lowered the margin.
        least_at_check: ``(M,)``, ``least`` at the last check.
        halved: bool ``(M,)``, whether the last check halved the step.
    """

    which: Tensor
    clean: Tensor
    change: Tensor
    previous: Tensor
    gradient: Tensor
    size: Tensor
    least: Tensor
    best: Tensor
    best_gradient: Tensor
    last: Tensor
    helped: Tensor
    least_at_check: Tensor
    halved: Tensor

    @classmethod
    def begin(cls, which: Tensor, clean: Tensor, change: Tensor, size: float) -> "APGDState":
        """Return the state before the first evaluation.

        Args:
            which: int64 ``(M,)``, indices of the images.
            clean: ``(M, 3, H, W)``, the clean images.
            change: where the descent starts.
            size: length of the first step.
        """
        count = len(which)
        no_margin = clean.new_full((count,), float("inf"))
        no_gradient = clean.new_zeros(1).expand_as(clean)
        return cls(
            which=which,
            clean=clean,
            change=change,
            previous=change,
            gradient=no_gradient,
            size=clean.new_full((count, 1, 1, 1), size),
            least=no_margin,
            best=change,
            best_gradient=no_gradient,
            last=no_margin,
            helped=torch.zeros_like(which),
            least_at_check=no_margin,
            halved=torch.zeros_like(which, dtype=torch.bool),
        )

    def only(self, mask: Tensor) -> "APGDState":
        """Return the state of the images where ``mask`` ``(M,)`` is true."""
        if bool(mask.all()):
            return self
        return APGDState(*(value[mask] for value in vars(self).values()))

    def note(self, margins: Tensor, gradient: Tensor) -> None:
        """Record the evaluation of the present iterate.

        Args:
            margins: ``(M,)``.
            gradient: ``(M, 3, H, W)``.
        """
        self.gradient = gradient
        self.helped = self.helped + (margins < self.last)
        self.last = margins
        better = margins < self.least
        self.least = torch.where(better, margins, self.least)
        self.best = replaced_rows(better, self.change, self.best)
        self.best_gradient = replaced_rows(better, gradient, self.best_gradient)

    def check(self, since: int) -> None:
        """Halve the step and return to the best iterate where too few steps helped.

        Args:
            since: steps since the last check. An image of which none of them lowered the smallest
                margin is halved too, unless the last check did so.
        """
        stuck = (self.least_at_check <= self.least) & ~self.halved
        halve = (self.helped < MIN_HELPFUL_SHARE * since) | stuck
        self.size = replaced_rows(halve, self.size / 2, self.size)
        self.change = replaced_rows(halve, self.best, self.change)
        self.previous = replaced_rows(halve, self.best, self.previous)
        self.gradient = replaced_rows(halve, self.best_gradient, self.gradient)
        self.last = torch.where(halve, self.least, self.last)
        self.helped = torch.zeros_like(self.helped)
        self.least_at_check = self.least
        self.halved = halve

    def move(self, ball: Ball) -> None:
        """Take a projected step in ``ball``, part of which repeats the last move."""
        step = ball.steepest_step(self.gradient).mul_(self.size).add_(self.change)
        self.gradient = self.gradient.new_zeros(1)  # a new one is on its way
        ahead = ball.project(step, self.clean)
        has_not_moved = (self.change == self.previous).flatten(1).all(dim=1)
        mixed = torch.sub(ahead, self.change, out=step).mul_(NEW_MOVE_SHARE).add_(self.change)
        for new, change, previous in zip(
            mixed.unbind(1), self.change.unbind(1), self.previous.unbind(1), strict=True
        ):
            new.add_((change - previous).mul_(1 - NEW_MOVE_SHARE))
        self.previous = self.change
        self.change = ball.project(replaced_rows(has_not_moved, ahead, mixed), self.clean)


@attacks.add("apgd-linf")
@final
@dataclass(frozen=True, kw_only=True)
class APGDLinf(LinfBall, APGD):
    """Auto-PGD: gradient descent that halves its step; L-inf ``eps`` in grey levels."""


@attacks.add("apgd-l2")
@final
@dataclass(frozen=True, kw_only=True)
class APGDL2(L2Ball, APGD):
    """Auto-PGD: gradient descent that halves its step; L2 ``eps`` in the [0, 1]-pixel norm."""
