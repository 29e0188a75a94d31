"""HopSkipJump: a walk along the decision boundary that asks for verdicts only, in the L-inf and in
the L2 ball.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.config.units import Count, DrawCount, QueryCount
from robustbench_aigi.imaging.pixels import LEVELS
from robustbench_aigi.io.hashing import Draws

STEPS = 6
"""Lengths of a step that are tried, each half of the one before."""
HALVINGS = 10
"""Verdicts spent on the way back to the boundary."""
FEWEST = 10
"""Probes without which a round is not worth beginning."""
HELD = 2**22
"""Most values of images held at a time."""


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Ball):
    """Asks around a point of the boundary which way is wrong, steps that way, and comes back
    towards the clean image.

    The score is never looked at, only whether the detector is wrong. Two things differ from the
    paper. Every image asked about is on the 8-bit grid, as one who can only send images must, so
    probes are whole grey levels. And the walk begins at noised, blurred and paled copies of the
    image, because uniform noise is all of one class to a detector of generated images, and images
    of that class could not be attacked. Source: Chen, Jordan and Wainwright, HopSkipJump, IEEE S&P
    2020.

    Args:
        queries: the most evaluations of an image.
        probes: verdicts that tell the first direction; later ones get more, by the square root of
            the round.
        draws: scores averaged for each verdict, where the detector scores at random; each counts as
            a query.
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
    def averaged(self) -> int:
        """``draws``."""
        return self.draws

    @abstractmethod
    def shorter(self, change: Tensor, share: Tensor) -> Tensor:
        """The change at a share ``(M, 1, 1, 1)`` of its size, on the shortest way to the clean
        image.
        """

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Walk with all images together, until the queries left do not pay another round."""
        walk = Walk(self, oracle, rngs)
        walk.start()
        for turn in count(1):
            probes = min(
                int(self.probes * math.sqrt(turn)),
                self.queries // self.draws - walk.spent - STEPS - HALVINGS,
            )
            if probes < FEWEST or not walk.goes_on():
                return
            walk.step(self.steepest_step(walk.gradient(probes)), 1 / math.sqrt(turn))


class Walk:
    """Where the images are on the boundary. They move in lockstep, so all of them have spent as
    much.

    Attributes:
        which: the images still walking. clean: those.
        change: what leads from each to its point of the boundary, in grey levels, not yet rounded.
        spent: evaluations of each.
    """

    def __init__(self, ball: HopSkipJump, oracle: Oracle, rngs: Draws) -> None:
        self._ball, self._oracle, self._rngs = ball, oracle, rngs
        active = oracle.active()
        self.which = active[~oracle.fooled[active]]
        self.clean = oracle.images[self.which]
        self.change = torch.zeros_like(self.clean)
        self.spent = 0
        self._dither = self._drawn(1).squeeze(1)

    def start(self) -> None:
        """Go to the nearest of the starts that fool; images that none of them fools walk no
        further.
        """
        nearest = torch.full((len(self.which), 1, 1, 1), math.inf)
        for start in self._starts() if len(self.which) else ():
            change = start.round().clamp(0, LEVELS) - self.clean
            size = torch.where(self._fools(self.clean + change), self._ball.size(change), math.inf)
            self.change = torch.where(size < nearest, change, self.change)
            nearest = torch.minimum(nearest, size)
        self._keep(nearest.flatten().isfinite())
        if len(self.which):
            self.change = self._back(self.change)

    def goes_on(self) -> bool:
        """Let go of the images that need no more, and say whether any is left."""
        self._keep(torch.isin(self.which, self._oracle.active()))
        return len(self.which) > 0

    def gradient(self, probes: int) -> Tensor:
        """Which way is wrong: the sum of random moves by a grey level, weighed by verdicts less
        their mean.
        """
        here = self._shown(self.change)
        towards, drift, lean = (
            torch.zeros_like(here),
            torch.zeros_like(here),
            torch.zeros(len(here), 1, 1, 1),
        )
        most = max(1, HELD // here.numel())
        for begun in range(0, probes, most):
            signs = 2 * self._drawn(min(most, probes - begun)).round() - 1
            moves = (here[:, None] + signs).clamp(0, LEVELS) - here[:, None]
            wrong = self._fools((here[:, None] + moves).flatten(0, 1), each=moves.shape[1])
            verdicts = 2.0 * wrong.view(*moves.shape[:2], 1, 1, 1) - 1
            towards += (verdicts * moves).sum(dim=1)
            drift += moves.sum(dim=1)
            lean += verdicts.sum(dim=1)
        return towards - lean / probes * drift

    def step(self, direction: Tensor, share: float) -> None:
        """Take the longest step that stays wrong, ``share`` of the way back at most; keep it if it
        leads nearer.
        """
        moved, left = self.change, torch.ones(len(self.which), 1, 1, 1, dtype=torch.bool)
        for halved in range(STEPS):
            length = share * 0.5**halved * self._ball.size(self.change)
            tried = (self.clean + self.change + length * direction).clamp(0, LEVELS) - self.clean
            wrong = self._fools(self._shown(tried))
            moved, left = torch.where(wrong & left, tried, moved), left & ~wrong
        moved = self._back(moved)
        self.change = torch.where(
            self._ball.size(moved) < self._ball.size(self.change), moved, self.change
        )

    def _back(self, change: Tensor) -> Tensor:
        """Halve the way between the change, which fools, and the clean image, which does not."""
        low, high = (torch.full((len(change), 1, 1, 1), end) for end in (0.0, 1.0))
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            wrong = self._fools(self._shown(self._ball.shorter(change, middle)))
            low, high = torch.where(wrong, low, middle), torch.where(wrong, middle, high)
        return self._ball.shorter(change, high)

    def _shown(self, change: Tensor) -> Tensor:
        """On the grid: up or down by a draw of each value, the same in all rounds, so that parts of
        a level count.
        """
        return (self.clean + change.sign() * (change.abs() + self._dither).floor()).clamp(0, LEVELS)

    def _fools(self, images: Tensor, each: int = 1) -> Tensor:
        """``(M * each, 1, 1, 1)`` whether the detector is wrong on each image's ``each``
        candidates.
        """
        which = self.which.repeat_interleave(each)
        size = self._ball.size((images - self._oracle.images[which]).double()).flatten()
        self.spent += each
        margins = self._oracle.submit(images, which, kept=size <= self._ball.radius)
        wrong = (margins < 0) | ((margins == 0) & (self._oracle.labels[which] == 1))
        return wrong.view(-1, 1, 1, 1)

    def _keep(self, kept: Tensor) -> None:
        self.which, self.clean, self.change, self._dither = (
            tensor[kept] for tensor in (self.which, self.clean, self.change, self._dither)
        )

    def _drawn(self, each: int, *shape: int) -> Tensor:
        """``(M, each, *shape)`` uniform draws, of an image's shape if none is given."""
        size = (each, *(shape or self.clean.shape[1:]))
        drawn = [torch.rand(size, generator=self._rngs[i]) for i in self.which.tolist()]
        return torch.stack(drawn) if drawn else torch.zeros(0, *size)

    def _starts(self) -> Iterator[Tensor]:
        """Copies that a detector may be wrong on: noised, blurred, paled, inverted, and noise fine
        and coarse.
        """
        clean, noise = self.clean, self._drawn(1).squeeze(1)
        yield from (clean + size * (noise - 0.5) for size in (60, 150))
        for reach in (1, 2):
            yield F.avg_pool2d(
                F.pad(clean, (reach,) * 4, mode="replicate"), 2 * reach + 1, stride=1
            )
        yield from (LEVELS / 2 + 0.3 * (clean - LEVELS / 2), LEVELS - clean, LEVELS * noise)
        for side in (4, 8):
            coarse = self._drawn(1, 3, side, side).squeeze(1)
            yield LEVELS * F.interpolate(coarse, size=clean.shape[-2:], mode="bilinear")


@attacks.add("hop-skip-jump-linf")
@final
@dataclass(frozen=True, kw_only=True)
class HopSkipJumpLinf(LinfBall, HopSkipJump):
    """HopSkipJump: decision-based walk along the boundary, in the L-inf ball; ``eps`` in grey
    levels.
    """

    def shorter(self, change: Tensor, share: Tensor) -> Tensor:
        """Clamp to the share of the largest value."""
        most = share * self.size(change)
        return change.clamp(-most, most)


@attacks.add("hop-skip-jump-l2")
@final
@dataclass(frozen=True, kw_only=True)
class HopSkipJumpL2(L2Ball, HopSkipJump):
    """HopSkipJump: decision-based walk along the boundary, in the L2 ball; ``eps`` in the [0,
    1]-pixel norm.
    """

    def shorter(self, change: Tensor, share: Tensor) -> Tensor:
        """Scale."""
        return share * change
