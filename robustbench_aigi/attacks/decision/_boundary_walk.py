"""A walk along a detector's decision boundary: where the images are, and one round of it."""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.attacks._engine.best_seen import replaced_rows, rows_at, select_rows
from robustbench_aigi.attacks._engine.norm_balls import Ball
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.io.hashing import Draws

STEP_LENGTHS = 6
"""Lengths of a step that are tried, each half of the one before."""
BISECTION_STEPS = 10
"""Verdicts spent on returning to the boundary."""
MAX_VALUES = 2**22
"""Most values of images held at a time."""


@dataclass(frozen=True, kw_only=True)
class BoundaryBall(Ball):
    """An attack in a ball that walks along the decision boundary."""

    @abstractmethod
    def holds(self, change: Tensor) -> Tensor:
        """Return whether each change is in the ball, bool ``(M,)``.

        Args:
            change: ``(M, 3, H, W)``, whole grey levels.
        """

    @abstractmethod
    def shortened(self, change: Tensor, share: Tensor) -> Tensor:
        """Return the change at a share of its size, on the shortest path to the clean image.

        Args:
            change: ``(M, 3, H, W)`` in grey levels.
            share: ``(M, 1, 1, 1)``, from 0 to 1.
        """


class BoundaryWalk:
    """Where the images are on the boundary; they move in lockstep, so all have spent as much.

    Args:
        ball: the attack, which has the norm and its radius.
        oracle: what gives the verdicts.
        rngs: one random generator per image of the batch.

    Attributes:
        which: indices of the images still walking.
        clean: those images.
        change: from each to its point of the boundary, in grey levels, not yet rounded.
        spent: evaluations of each.
    """

    def __init__(self, ball: BoundaryBall, oracle: Oracle, rngs: Draws) -> None:
        self._ball = ball
        self._oracle = oracle
        self._rngs = rngs
        active = oracle.active()
        self.which = active[~oracle.fooled[active]]
        self.clean = rows_at(self.which, oracle.images)
        self.change = torch.zeros_like(self.clean)
        self.spent = 0
        self._dither = self._uniform(1).squeeze(1)

    def start(self) -> None:
        """Move to the nearest of the starts that fool; images that none of them fools leave."""
        nearest = self.clean.new_full((len(self.which), 1, 1, 1), math.inf)
        for start in self._starts() if len(self.which) else ():
            change = start.round_().clamp_(0, MAX_LEVEL).sub_(self.clean)
            size = torch.where(self._fools(self.clean + change), self._ball.size(change), math.inf)
            self.change = replaced_rows((size < nearest).flatten(), change, self.change)
            nearest = torch.minimum(nearest, size)
        self._keep(nearest.flatten().isfinite())
        if len(self.which):
            self.change = self._to_boundary(self.change)

    def keep_active(self) -> bool:
        """Drop the images that need no more, and return whether any is left."""
        self._keep(self._oracle.is_active(self.which))
        return len(self.which) > 0

    def gradient(self, probes: int) -> Tensor:
        """Estimate which way is wrong, ``(M, 3, H, W)``.

        It is the sum of random moves by a grey level, weighted by verdicts less their mean.

        Args:
            probes: verdicts per image.
        """
        here = self._shown(self.change)
        weighted_moves = torch.zeros_like(here)
        all_moves = torch.zeros_like(here)
        verdict_sum = here.new_zeros(len(here), 1, 1, 1)
        most = max(1, MAX_VALUES // here.numel())
        for begun in range(0, probes, most):
            signs = self._uniform(min(most, probes - begun)).round_().mul_(2).sub_(1)
            moves = signs.add_(here[:, None]).clamp_(0, MAX_LEVEL).sub_(here[:, None])
            wrong = self._fools((here[:, None] + moves).flatten(0, 1), each=moves.shape[1])
            verdicts = 2.0 * wrong.view(*moves.shape[:2], 1, 1, 1) - 1
            all_moves += moves.sum(dim=1)
            weighted_moves += moves.mul_(verdicts).sum(dim=1)
            verdict_sum += verdicts.sum(dim=1)
        return weighted_moves.sub_(all_moves.mul_(verdict_sum / probes))

    def step(self, direction: Tensor, share: float) -> None:
        """Take the longest step that stays wrong, and keep it if it leads nearer.

        Args:
            direction: ``(M, 3, H, W)`` of size 1.
            share: length of the first step tried, as a share of the distance to the clean image.
        """
        moved = self.change
        untried = torch.ones_like(self.which, dtype=torch.bool).view(-1, 1, 1, 1)
        for halved in range(STEP_LENGTHS):
            length = share * 0.5**halved * self._ball.size(self.change)
            tried = (self.clean + self.change).add_(length * direction)
            tried = tried.clamp_(0, MAX_LEVEL).sub_(self.clean)
            wrong = self._fools(self._shown(tried))
            moved = replaced_rows((wrong & untried).flatten(), tried, moved)
            untried &= ~wrong
        moved = self._to_boundary(moved)
        is_nearer = self._ball.size(moved) < self._ball.size(self.change)
        self.change = replaced_rows(is_nearer.flatten(), moved, self.change)

    def _to_boundary(self, change: Tensor) -> Tensor:
        """Bisect between the change, which fools, and the clean image, which does not."""
        low = change.new_zeros(len(change), 1, 1, 1)
        high = torch.ones_like(low)
        for _ in range(BISECTION_STEPS):
            middle = (low + high) / 2
            wrong = self._fools(self._shown(self._ball.shortened(change, middle)))
            low = torch.where(wrong, low, middle)
            high = torch.where(wrong, middle, high)
        return self._ball.shortened(change, high)

    def _shown(self, change: Tensor) -> Tensor:
        """Return the images of changes, rounded up or down at random.

        Parts of a level count that way. The draw of each value is the same in all rounds.
        """
        levels = change.abs().add_(self._dither).floor_().copysign_(change)
        return levels.add_(self.clean).clamp_(0, MAX_LEVEL)

    def _fools(self, images: Tensor, each: int = 1) -> Tensor:
        """Return whether the detector is wrong on ``each`` candidates per image.

        The result is ``(M * each, 1, 1, 1)``.
        """
        which = self.which.repeat_interleave(each)
        clean = self._oracle.images[which]
        allowed = self._ball.holds(torch.sub(images, clean, out=clean))
        del clean  # the detector needs the memory of a photograph
        self.spent += each
        margins = self._oracle.submit(images, which, allowed=allowed)
        wrong = (margins < 0) | ((margins == 0) & (self._oracle.labels[which] == 1))
        return wrong.view(-1, 1, 1, 1)

    def _keep(self, mask: Tensor) -> None:
        rows = (self.which, self.clean, self.change, self._dither)
        self.which, self.clean, self.change, self._dither = select_rows(mask, *rows)

    def _uniform(self, each: int, *shape: int) -> Tensor:
        """Return ``(M, each, *shape)`` uniform draws, of an image's shape if none is given."""
        size = (each, *(shape or self.clean.shape[1:]))
        drawn = [torch.rand(size, generator=self._rngs[i]) for i in self.which.tolist()]
        stacked = torch.stack(drawn) if drawn else torch.zeros(0, *size)
        return stacked.to(self.clean.device)

    def _starts(self) -> Iterator[Tensor]:
        """Yield copies that a detector may be wrong on.

        They are noised, blurred, paled and inverted; then noise, fine and coarse.
        """
        clean = self.clean
        noise = self._uniform(1).squeeze(1)
        for size in (60, 150):
            yield (noise - 0.5).mul_(size).add_(clean)
        for reach in (1, 2):
            padded = F.pad(clean, (reach,) * 4, mode="replicate")
            yield F.avg_pool2d(padded, 2 * reach + 1, stride=1)
        yield (clean - MAX_LEVEL / 2).mul_(0.3).add_(MAX_LEVEL / 2)
        yield MAX_LEVEL - clean
        yield MAX_LEVEL * noise
        for side in (4, 8):
            coarse = self._uniform(1, 3, side, side).squeeze(1)
            yield MAX_LEVEL * F.interpolate(coarse, size=clean.shape[-2:], mode="bilinear")
