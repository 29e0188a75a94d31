"""Random squares: a black-box attack on scores, in the L-inf and in the L2 ball."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall, length
from robustbench_aigi.attacks._engine.oracle import Oracle, chosen
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.decision.hop_skip_jump import HopSkipJumpL2, HopSkipJumpLinf
from robustbench_aigi.config.units import AreaShare, DrawCount, QueryCount
from robustbench_aigi.io.hashing import Draws

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, of 10 000, after which the square's area is halved."""
TOGETHER = 24
"""Squares scored together, where few images are left: a network takes these hardly longer than one.
"""
AHEAD = 8
"""Most squares of an image scored together: one in eight or so is kept, and makes those after it
void.
"""
DRAWS = 8


@dataclass(frozen=True, kw_only=True)
class Square(Ball):
    """Random search that changes one square at a time and keeps what lowers the margin.

    The next squares are scored together and taken in turn up to the first that is kept. The rest is
    forgotten, so the search is that of one square at a time, in fewer and larger passes. Queries
    are counted as it comes to them.

    Source: Andriushchenko et al., ECCV 2020.

    Args:
        queries: evaluations of an image, the first one included.
        area: share of the image that the first squares cover.
        draws: scores averaged at each step, where the detector scores at random; each counts as a
            query.
    """

    queries: QueryCount = 5000
    area: AreaShare = 0.8
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

    @property
    def squares(self) -> int:
        """The most squares shown of an image."""
        return max(1, self.queries // self.draws)

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Search for all images still active together."""
        which = oracle.active()
        if not len(which):
            return
        clean = oracle.images[which]
        change = torch.stack([self.first(clean[0], rngs[i]) for i in which.tolist()])
        draws = torch.stack(
            [torch.rand(self.squares, DRAWS, generator=rngs[i]) for i in which.tolist()]
        )
        change, at = self.project(change, clean), torch.ones(len(which), dtype=torch.int64)
        margins = oracle.submit(self.quantise(change, clean), which)
        while True:
            which, clean, change, margins, draws, at = oracle.remaining(
                which, clean, change, margins, draws, at
            )
            which, clean, change, margins, draws, at = chosen(
                at < self.squares, which, clean, change, margins, draws, at
            )
            if not len(which):
                return
            ahead = self._ahead(oracle, at)
            rows, queries = torch.arange(len(which)), at[:, None] + torch.arange(ahead)
            base, under, owners = (
                t.repeat_interleave(ahead, dim=0) for t in (change, clean, which)
            )
            proposed = self.project(
                self._proposals(base, queries.flatten(), draws[rows[:, None], queries]), under
            )
            shown = self.quantise(proposed, under)
            logits = oracle.logits_of(shown)
            scores = oracle.margins(logits, owners)
            missed = (scores.view(-1, ahead) >= margins[:, None]).cumprod(dim=1).sum(dim=1)
            last = missed.clamp(max=ahead - 1)
            reached = (torch.arange(ahead) <= last[:, None]).flatten()
            oracle.submit(shown[reached], owners[reached], logits=logits[reached])
            better, place = missed < ahead, last + ahead * rows
            margins = torch.where(better, scores[place], margins)
            change = torch.where(better.view(-1, 1, 1, 1), proposed[place], change)
            at += last + 1

    def _ahead(self, oracle: Oracle, at: Tensor) -> int:
        """How many squares of each image to score together: one of a black box, which may count
        what it is asked.
        """
        if oracle.detector.card.gradient == "none":
            return 1
        return max(1, min(TOGETHER // len(at), AHEAD, self.squares - int(at.max())))

    def _proposals(self, change: Tensor, queries: Tensor, draws: Tensor) -> Tensor:
        """New changes ``(M, 3, H, W)``, for the query number of each."""
        halved = (queries[:, None] * 10_000 > torch.tensor(HALVINGS) * self.squares).sum(dim=1)
        new, draws = torch.empty_like(change), draws.flatten(0, 1)
        for count in halved.unique().tolist():
            rows = halved == count
            new[rows] = self.proposal(change[rows], self.area / 2**count, draws[rows])
        return new

    @abstractmethod
    def first(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """The change to begin with, of one image."""

    @abstractmethod
    def proposal(self, change: Tensor, share: float, draws: Tensor) -> Tensor:
        """New changes ``(M, 3, H, W)``: a square of ``share`` of the area redrawn, by ``(M,
        DRAWS)`` uniform draws.
        """


def windows(change: Tensor, side: int, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mask ``(M, 1, H, W)`` of a square, and its first row and column, from ``(M, 2)`` uniform
    draws.
    """
    height, width = change.shape[-2:]
    top = (places[:, 0] * (height - side + 1)).long()
    left = (places[:, 1] * (width - side + 1)).long()
    rows, columns = torch.arange(height), torch.arange(width)
    tall = (rows >= top[:, None]) & (rows < top[:, None] + side)
    wide = (columns >= left[:, None]) & (columns < left[:, None] + side)
    return (tall[:, :, None] & wide[:, None, :]).unsqueeze(1), top, left


@attacks.add("square-linf")
@final
@dataclass(frozen=True, kw_only=True)
class SquareLinf(LinfBall, Square):
    """Square attack: stripes of plus or minus ``eps``, then random squares of plus or minus ``eps``
    a channel.
    """

    def by_verdicts(self) -> HopSkipJumpLinf:
        """HopSkipJump in the same ball, with as many queries."""
        return HopSkipJumpLinf(eps=self.eps, queries=self.queries, draws=self.draws)

    def first(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Vertical stripes, a pixel wide."""
        signs = torch.rand(like.shape[0], 1, like.shape[2], generator=rng) < 0.5
        return torch.where(signs, self.radius, -self.radius).expand_as(like)

    def proposal(self, change: Tensor, share: float, draws: Tensor) -> Tensor:
        """One square, one sign a channel."""
        height, width = change.shape[-2:]
        side = min(max(1, round(math.sqrt(share * height * width))), height, width)
        inside, _, _ = windows(change, side, draws[:, :2])
        signs = torch.where(draws[:, 2:5] < 0.5, self.radius, -self.radius)[:, :, None, None]
        return torch.where(inside, signs, change)


@attacks.add("square-l2")
@final
@dataclass(frozen=True, kw_only=True)
class SquareL2(L2Ball, Square):
    """Square attack: moves the L2 budget from one square of the image into a pair of bumps in
    another.
    """

    area: AreaShare = 0.1

    def by_verdicts(self) -> HopSkipJumpL2:
        """HopSkipJump in the same ball, with as many queries."""
        return HopSkipJumpL2(eps=self.eps, queries=self.queries, draws=self.draws)

    def first(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """A grid of five by five bumps, of the whole budget."""
        channels, height, width = like.shape
        side = max(1, min(height, width) // 5)
        tile = bumps(side)
        grid = torch.zeros_like(like)
        for top in range((height - 5 * side) // 2, height - side + 1, side):
            for left in range((width - 5 * side) // 2, width - side + 1, side):
                signs = torch.where(torch.rand(channels, 1, 1, generator=rng) < 0.5, 1.0, -1.0)
                grid[:, top : top + side, left : left + side] += signs * tile
        return grid * (self.radius / float(torch.linalg.vector_norm(grid).clamp(min=1e-12)))

    def proposal(self, change: Tensor, share: float, draws: Tensor) -> Tensor:
        """Empty one square; put its budget, and what is unspent, into another."""
        height, width = change.shape[-2:]
        side = max(3, round(math.sqrt(share * height * width)))
        side = min(side + 1 - side % 2, height, width)
        to, top, left = windows(change, side, draws[:, :2])
        away, _, _ = windows(change, side, draws[:, 2:4])
        old = change * to
        budget = length(change * (to | away)).square() + (
            self.radius**2 - length(change).square()
        ).clamp(min=0)
        signs = torch.where(draws[:, 4:7] < 0.5, 1.0, -1.0)[:, :, None, None]
        new = old / per_channel(old).clamp(min=1e-12) + signs * placed(
            bumps(side), top, left, change, draws[:, 7] < 0.5
        )
        new = new / per_channel(new).clamp(min=1e-12) * (budget / change.shape[1]).sqrt()
        return torch.where(to, new, torch.where(away, 0.0, change))


def per_channel(change: Tensor) -> Tensor:
    """L2 norm of each channel, ``(M, 3, 1, 1)``."""
    lengths: Tensor = torch.linalg.vector_norm(change, dim=(2, 3), keepdim=True)
    return lengths


def bumps(side: int) -> Tensor:
    """``(side, side)`` of norm 1: a stepped hill in the upper half and its negative in the
    lower.
    """
    whole = torch.zeros(side, side)
    for start, stop, sign in ((0, side // 2, 1.0), (side // 2, side, -1.0)):
        tall = stop - start
        middle = (start + tall // 2, side // 2)
        for ring in range(max(tall // 2, side // 2) + 1):
            top, left = max(middle[0] - ring, start), max(middle[1] - ring, 0)
            bottom, right = min(middle[0] + ring + 1, stop), min(middle[1] + ring + 1, side)
            whole[top:bottom, left:right] += sign / (ring + 1) ** 2
    unit: Tensor = whole / torch.linalg.vector_norm(whole).clamp(min=1e-12)
    return unit


def placed(tile: Tensor, top: Tensor, left: Tensor, like: Tensor, turned: Tensor) -> Tensor:
    """The tile at each image's place, zero around it, ``(M, 1, H, W)``; transposed where
    ``turned``.
    """
    side = len(tile)
    out = torch.zeros(len(like), 1, *like.shape[-2:], dtype=like.dtype)
    tiles = torch.where(turned.view(-1, 1, 1), tile.T, tile)
    rows = (top[:, None] + torch.arange(side)).unsqueeze(2)
    columns = (left[:, None] + torch.arange(side)).unsqueeze(1)
    out[torch.arange(len(like)).view(-1, 1, 1), 0, rows, columns] = tiles
    return out
