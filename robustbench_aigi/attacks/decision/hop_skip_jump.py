"""HopSkipJump: a walk along the decision boundary by verdicts only, in L-inf and in L2."""

import math
from dataclasses import dataclass
from itertools import count
from typing import final

from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import L2Ball, LinfBall, greatest
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.decision._boundary_walk import (
    BISECTION_STEPS,
    STEP_LENGTHS,
    BoundaryBall,
    BoundaryWalk,
)
from robustbench_aigi.config.units import Count, DrawCount, QueryCount
from robustbench_aigi.imaging.norms import whole_lengths
from robustbench_aigi.io.hashing import Draws

MIN_PROBES = 10
"""Probes below which a round is not worth starting."""


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(BoundaryBall):
    """Asks around a point of the boundary which way is wrong, and steps that way.

    Then it returns to the boundary, towards the clean image. The score is never looked at, only
    whether the detector is wrong. Two things differ from the paper. Every image asked about is on
    the 8-bit grid, as one who can only send images must, so probes are whole grey levels. And the
    walk begins at noised, blurred and paled copies of the image, because uniform noise is all of
    one class to a detector of generated images, and images of that class could not be attacked.
    Source: Chen, Jordan and Wainwright, HopSkipJump, IEEE S&P 2020.

    Args:
        queries: maximum number of evaluations per image.
        probes: verdicts for the first direction; later ones get more, by the square root of the
            round.
        draws: scores averaged per verdict, where the detector scores at random; each counts as a
            query.
    """

    queries: QueryCount = 5000
    probes: Count = 100
    draws: DrawCount = 1

    access = "scores"

    @property
    def query_budget(self) -> int:
        """``queries``."""
        return self.queries

    @property
    def draws_per_candidate(self) -> int:
        """``draws``."""
        return self.draws

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Walk with all images of ``oracle`` together, with probes drawn from ``rngs``.

        The walk ends when the queries left do not pay for another round.
        """
        walk = BoundaryWalk(self, oracle, rngs)
        walk.start()
        for turn in count(1):
            affordable = self.queries // self.draws - walk.spent - STEP_LENGTHS - BISECTION_STEPS
            probes = min(int(self.probes * math.sqrt(turn)), affordable)
            if probes < MIN_PROBES or not walk.keep_active():
                return
            walk.step(self.steepest_step(walk.gradient(probes)), 1 / math.sqrt(turn))


@attacks.add("hop-skip-jump-linf")
@final
@dataclass(frozen=True, kw_only=True)
class HopSkipJumpLinf(LinfBall, HopSkipJump):
    """HopSkipJump: decision-based walk along the boundary, in L-inf; ``eps`` in grey levels."""

    def holds(self, change: Tensor) -> Tensor:
        """Return whether no value of ``change`` is larger than ``eps``."""
        return greatest(change).flatten() <= self.radius

    def shortened(self, change: Tensor, share: Tensor) -> Tensor:
        """Clamp ``change`` to a ``share`` of its largest value."""
        most = share * self.size(change)
        return change.clamp(-most, most)


@attacks.add("hop-skip-jump-l2")
@final
@dataclass(frozen=True, kw_only=True)
class HopSkipJumpL2(L2Ball, HopSkipJump):
    """HopSkipJump: decision-based boundary walk, in L2; ``eps`` in the [0, 1]-pixel norm."""

    def holds(self, change: Tensor) -> Tensor:
        """Return whether the L2 norm of ``change`` is at most ``eps``."""
        return whole_lengths(change) <= self.radius

    def shortened(self, change: Tensor, share: Tensor) -> Tensor:
        """Scale ``change`` by ``share``."""
        return share * change
