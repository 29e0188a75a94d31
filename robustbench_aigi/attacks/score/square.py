"""Random squares: a black-box attack on scores, in the L-inf and in the L2 ball."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.candidates import candidates_at_once
from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall, length
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.decision.hop_skip_jump import HopSkipJumpL2, HopSkipJumpLinf
from robustbench_aigi.attacks.score._square_shapes import bumps, per_channel, placed, windows
from robustbench_aigi.attacks.score._square_state import SquareState, first_improvement
from robustbench_aigi.config.units import AreaShare, DrawCount, QueryCount
from robustbench_aigi.io.hashing import Draws

HALVING_QUERIES = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries, out of 10 000, after which the square's area is halved."""
MAX_BATCH = 24
"""Squares scored together, where few images are left: a network takes these hardly longer than one.
"""
MAX_AHEAD = 8
"""Most squares of an image scored together. About one in eight is kept, and makes those after it
void.
"""
DRAWS_PER_SQUARE = 8
"""Uniform random numbers that one square is made of."""


@dataclass(frozen=True, kw_only=True)
class Square(Ball):
    """Random search that changes one square at a time and keeps what lowers the margin.

    The next squares are scored together and taken in turn up to the first that is kept. The rest is
    forgotten, so the search is that of one square at a time, in fewer and larger passes. A query
    counts once the search comes to it.

    Source: Andriushchenko et al., ECCV 2020.

    Args:
        queries: evaluations per image, including the first one.
        area: share of the image that the first squares cover.
        draws: scores averaged per candidate, where the detector scores at random; each counts as a
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
    def draws_per_candidate(self) -> int:
        """``draws``."""
        return self.draws

    @property
    def squares(self) -> int:
        """The most squares shown per image."""
        return max(1, self.queries // self.draws)

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Search all active images of ``oracle`` together, with squares drawn from ``rngs``."""
        which = oracle.active()
        if not len(which):
            return
        state = self._begin(oracle, which, rngs)
        while True:
            has_queries = state.tried < self.squares
            state = state.only(oracle.is_active(state.which) & has_queries)
            if not len(state.which):
                return
            self._try_squares(oracle, state, self._ahead(oracle, state.tried))

    def _begin(self, oracle: Oracle, which: Tensor, rngs: Draws) -> SquareState:
        """Draw all random numbers, and score the first changes."""
        clean = oracle.images[which]
        first = torch.stack([self.first_change(clean[0], rngs[i]) for i in which.tolist()])
        uniform = torch.stack(
            [torch.rand(self.squares, DRAWS_PER_SQUARE, generator=rngs[i]) for i in which.tolist()]
        ).to(clean.device)
        change = self.project(first, clean)
        margins = oracle.submit(self.quantise(change, clean), which)
        tried = torch.ones_like(which)
        return SquareState(which, clean, change, margins, uniform, tried)

    def _try_squares(self, oracle: Oracle, state: SquareState, ahead: int) -> None:
        """Score the next ``ahead`` squares of each image, and take those up to the first kept."""
        rows = torch.arange(len(state.which), device=state.which.device)
        steps = torch.arange(ahead, device=state.which.device)
        queries = state.tried[:, None] + steps
        base, clean, owners = (
            tensor.repeat_interleave(ahead, dim=0)
            for tensor in (state.change, state.clean, state.which)
        )
        uniform = state.uniform[rows[:, None], queries].flatten(0, 1)
        proposed = self.project(self._proposals(base, queries.flatten(), uniform), clean)
        shown = self.quantise(proposed, clean)
        logits = oracle.logits_of(shown)
        margins = oracle.margins(logits, owners)
        improved_at = first_improvement(margins.view(-1, ahead), state.margins)
        last = improved_at.clamp(max=ahead - 1)
        reached = (steps <= last[:, None]).flatten()
        oracle.submit(shown[reached], owners[reached], logits=logits[reached])
        candidates = ahead * rows + last
        has_improved = improved_at < ahead
        state.margins = torch.where(has_improved, margins[candidates], state.margins)
        state.change = torch.where(
            has_improved.view(-1, 1, 1, 1), proposed[candidates], state.change
        )
        state.tried += last + 1

    def _ahead(self, oracle: Oracle, tried: Tensor) -> int:
        """Return how many squares of each image to score together.

        It is one for a black box, which may count what it is asked.
        """
        if oracle.detector.card.gradient == "none":
            return 1
        most = min(MAX_BATCH, candidates_at_once(oracle.images)) // len(tried)
        return max(1, min(most, MAX_AHEAD, self.squares - int(tried.max())))

    def _proposals(self, change: Tensor, queries: Tensor, uniform: Tensor) -> Tensor:
        """Return new changes ``(M, 3, H, W)`` for the query number ``(M,)`` of each."""
        milestones = torch.tensor(HALVING_QUERIES).to(queries.device) * self.squares
        halvings = (queries[:, None] * 10_000 > milestones).sum(dim=1)
        new = torch.empty_like(change)
        for count in halvings.unique().tolist():
            rows = halvings == count
            new[rows] = self.proposal(change[rows], self.area / 2**count, uniform[rows])
        return new

    @abstractmethod
    def first_change(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Return the change of one image to begin with.

        Args:
            like: ``(3, H, W)``, whose shape and type it gets.
            rng: the image's own generator.
        """

    @abstractmethod
    def proposal(self, change: Tensor, share: float, draws: Tensor) -> Tensor:
        """Return changes with one square replaced.

        Args:
            change: ``(M, 3, H, W)`` in grey levels.
            share: of the image that the square covers.
            draws: ``(M, 8)`` uniform random numbers in [0, 1).
        """


@attacks.add("square-linf")
@final
@dataclass(frozen=True, kw_only=True)
class SquareLinf(LinfBall, Square):
    """Square attack: stripes, then random squares, of plus or minus ``eps`` grey levels."""

    def by_verdicts(self) -> HopSkipJumpLinf:
        """Return HopSkipJump in the same ball, with as many queries."""
        return HopSkipJumpLinf(eps=self.eps, queries=self.queries, draws=self.draws)

    def first_change(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Return vertical stripes of one pixel, shaped as ``like``, of signs drawn from ``rng``."""
        signs = torch.rand(like.shape[0], 1, like.shape[2], generator=rng) < 0.5
        return torch.where(signs, self.radius, -self.radius).to(like).expand_as(like)

    def proposal(self, change: Tensor, share: float, draws: Tensor) -> Tensor:
        """Put a square of ``share`` of the area into ``change``, one sign per channel by ``draws``.

        The first two numbers of an image place its square.
        """
        height, width = change.shape[-2:]
        side = min(max(1, round(math.sqrt(share * height * width))), height, width)
        inside, _, _ = windows(change, side, draws[:, :2])
        signs = torch.where(draws[:, 2:5] < 0.5, self.radius, -self.radius)[:, :, None, None]
        return torch.where(inside, signs, change)


@attacks.add("square-l2")
@final
@dataclass(frozen=True, kw_only=True)
class SquareL2(L2Ball, Square):
    """Square attack: moves the L2 budget from one square into a pair of bumps in another."""

    area: AreaShare = 0.1

    def by_verdicts(self) -> HopSkipJumpL2:
        """Return HopSkipJump in the same ball, with as many queries."""
        return HopSkipJumpL2(eps=self.eps, queries=self.queries, draws=self.draws)

    def first_change(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Return five by five bumps shaped as ``like``, of the whole budget, signed by ``rng``."""
        channels, height, width = like.shape
        side = max(1, min(height, width) // 5)
        tile = bumps(side)
        grid = torch.zeros_like(like)
        for top in range((height - 5 * side) // 2, height - side + 1, side):
            for left in range((width - 5 * side) // 2, width - side + 1, side):
                signs = torch.where(torch.rand(channels, 1, 1, generator=rng) < 0.5, 1.0, -1.0)
                grid[:, top : top + side, left : left + side] += (signs * tile).to(like)
        return grid * (self.radius / float(torch.linalg.vector_norm(grid).clamp(min=1e-12)))

    def proposal(self, change: Tensor, share: float, draws: Tensor) -> Tensor:
        """Empty a square of ``change``, and put its budget and what is unspent into another.

        ``share`` is the area of both, and ``draws`` give their places, the bumps' signs, and
        whether the bumps are turned.
        """
        height, width = change.shape[-2:]
        side = max(3, round(math.sqrt(share * height * width)))
        side = min(side + 1 - side % 2, height, width)
        to, top, left = windows(change, side, draws[:, :2])
        away, _, _ = windows(change, side, draws[:, 2:4])
        old = change * to
        unspent = (self.radius**2 - length(change).square()).clamp(min=0)
        budget = length(change * (to | away)).square() + unspent
        signs = torch.where(draws[:, 4:7] < 0.5, 1.0, -1.0)[:, :, None, None]
        tiles = placed(bumps(side).to(change), top, left, change, draws[:, 7] < 0.5)
        new = old / per_channel(old).clamp(min=1e-12) + signs * tiles
        new = new / per_channel(new).clamp(min=1e-12) * (budget / change.shape[1]).sqrt()
        return torch.where(to, new, torch.where(away, 0.0, change))
