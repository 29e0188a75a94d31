"""Few-pixel attacks on scores: differential evolution, and exhaustive search of one pixel."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.candidates import candidates_at_once
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.config.relative_size import RelativeSize
from robustbench_aigi.config.units import (
    Count,
    CountOrNone,
    DrawCount,
    PixelCount,
    Population,
    Share,
)
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.io.hashing import Draws

GENES_PER_PIXEL = 5
"""Numbers per pixel of a candidate: row, column, red, green, blue."""
SPREAD_STEPS = (0.7548776662466927, 0.5698402909980532)
"""Steps of the R2 sequence, as shares of an image's height and width. Source: Roberts, The
Unreasonable Effectiveness of Quasirandom Sequences, 2018.
"""
OPPOSITE_SHARE = 0.8
"""Share of the first channels at the end of the range that is further from the pixel's own value.
"""
MAX_BATCH = 512
"""Candidates scored together, where one image has fewer."""


@dataclass(frozen=True, kw_only=True)
class PixelEvolution(Attack):
    """Differential evolution of a few pixels towards the colours that hurt most.

    A candidate is (row, column, red, green, blue) for each pixel, whole numbers. Each generation
    makes one child per parent, ``best + f (b - c)`` from the best member and two random ones, and
    keeps the better of the two. Source: Su, Vargas & Sakurai, IEEE TEVC 2019.

    Three things differ from the paper, because with few evaluations they fool more images. A child
    starts from the best member, not from a random one, with ``f`` of half to one, not half. The
    first positions are spread evenly, by the R2 sequence from a random place, not drawn one by one.
    The first colours are corners of their cube, where a pixel does most, and mostly those far from
    the pixel's own colour; the paper draws around grey. Its budget is a population of 400 for 100
    generations.

    Args:
        population: candidates per image.
        generations: number of generations after the first.
        scale: the smallest ``f``; it is drawn for every child, up to 1.
        draws: scores averaged per candidate, where the detector scores at random; each counts as a
            query.
    """

    population: Population = 400
    generations: CountOrNone = 100
    scale: Share = 0.5
    draws: DrawCount = 1

    access = "scores"

    @property
    def count(self) -> int:
        """Number of pixels of a candidate."""
        return 1

    def budget(self) -> Budget:
        """Return the pixels, of any colour, and the members of all generations."""
        return Budget(l0=self.pixel_budget, queries=self.most_evaluations)

    @property
    def pixel_budget(self) -> int | RelativeSize:
        """Most pixels that may change."""
        return self.count

    @property
    def most_evaluations(self) -> int:
        """Evaluations per image, of the members of all generations."""
        return self.draws * self.population * (self.generations + 1)

    @property
    def draws_per_candidate(self) -> int:
        """``draws``."""
        return self.draws

    @property
    def revision(self) -> int:
        """2: the first population is spread, in colours far from the image's own."""
        return 2

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Evolve populations of all active images of ``oracle`` together, drawn with ``rngs``."""
        which = oracle.active()
        if not len(which):
            return
        top = torch.tensor([*oracle.images.shape[-2:], 256, 256, 256]).repeat(self.count) - 1
        top = top.to(which.device)
        members = torch.stack([self._first(top, oracle.images[i], rngs[i]) for i in which.tolist()])
        fitness = self._score(oracle, members, which)
        for _ in range(self.generations):
            which, members, fitness = oracle.remaining(which, members, fitness)
            if not len(which):
                return
            children = self._children(members, fitness, top, [rngs[i] for i in which.tolist()])
            scores = self._score(oracle, children, which)
            better = scores <= fitness
            members = torch.where(better.unsqueeze(2), children, members)
            fitness = torch.where(better, scores, fitness)

    def _first(self, top: Tensor, image: Tensor, rng: torch.Generator) -> Tensor:
        """Return the first population of an image, ``(P, 5 * count)``.

        Positions are spread over the image. Each channel of a colour is 0 or 255, mostly the one
        that is further from ``image`` there.
        """
        pixels = self.population * self.count
        size = torch.tensor(image.shape[1:])
        places = (spread(pixels, rng) * size).long().to(top.device)
        is_dark = image[:, places[:, 0], places[:, 1]].T < MAX_LEVEL / 2
        is_opposite = torch.rand(pixels, 3, generator=rng) < OPPOSITE_SHARE
        is_random = torch.randint(0, 2, (pixels, 3), generator=rng).bool()
        bright = torch.where(is_opposite.to(top.device), is_dark, is_random.to(top.device))
        return torch.cat([places, MAX_LEVEL * bright], dim=1).view(self.population, -1)

    def _children(
        self, members: Tensor, fitness: Tensor, top: Tensor, rngs: Sequence[torch.Generator]
    ) -> Tensor:
        """Return one child per member, ``(A, P, 5 * count)``."""
        count = self.population
        winners = fitness.argmin(dim=1)[:, None, None]
        best = members.gather(1, winners.expand(-1, 1, members.shape[2]))
        orders = [torch.stack([torch.randperm(count, generator=r) for _ in range(2)]) for r in rngs]
        parents = torch.stack(orders).to(members.device)
        b, c = (members.gather(1, parents[:, k, :, None].expand_as(members)) for k in range(2))
        uniform = torch.stack([torch.rand(count, 1, generator=rng) for rng in rngs])
        share = self.scale + (1 - self.scale) * uniform.to(members.device)
        children = (best + share * (b - c)).round().long()
        return torch.minimum(children.clamp(min=0), top)

    def _score(self, oracle: Oracle, members: Tensor, which: Tensor) -> Tensor:
        """Return the margins ``(A, P)`` of every member.

        A few images are scored at a time, so that memory does not grow with their number.
        """
        margins = []
        together = max(1, MAX_BATCH // self.population)
        for images, own in zip(which.split(together), members.split(together), strict=True):
            index = images.repeat_interleave(self.population)
            pixels = own.reshape(-1, self.count, GENES_PER_PIXEL)
            most = candidates_at_once(oracle.images)
            for part, genes in zip(index.split(most), pixels.split(most), strict=True):
                margins.append(oracle.submit(painted(oracle.images[part], genes), part))
        return torch.cat(margins).view(len(which), self.population)


def spread(count: int, rng: torch.Generator) -> Tensor:
    """Return points of the unit square that lie evenly, float64 ``(count, 2)`` in [0, 1).

    Args:
        count: number of points.
        rng: draws the first of them; the others follow from it.

    Example:
        >>> spread(4, torch.Generator().manual_seed(0)).mul(10).long().tolist()
        [[9, 7], [7, 2], [4, 8], [2, 4]]
    """
    first = torch.rand(2, generator=rng, dtype=torch.float64)
    steps = torch.arange(count).unsqueeze(1) * torch.tensor(SPREAD_STEPS, dtype=torch.float64)
    return (first + steps) % 1


def painted(copies: Tensor, pixels: Tensor) -> Tensor:
    """Set pixels of images, in place, and return the images.

    Args:
        copies: ``(M, 3, H, W)``, which are changed.
        pixels: ``(M, K, 5)``: row, column, red, green, blue; a later pixel covers an earlier.

    Example:
        >>> painted(torch.zeros(1, 3, 1, 2), torch.tensor([[[0, 1, 9, 8, 7]]])).flatten()
        tensor([0., 9., 0., 8., 0., 7.])
    """
    rows = torch.arange(len(pixels), device=pixels.device)
    for own in pixels.unbind(dim=1):
        copies[rows, :, own[:, 0], own[:, 1]] = own[:, 2:].to(copies)
    return copies


@attacks.add("one-pixel")
@final
@dataclass(frozen=True, kw_only=True)
class OnePixel(PixelEvolution):
    """Change one pixel, chosen by differential evolution."""


@attacks.add("k-pixel")
@final
@dataclass(frozen=True, kw_only=True)
class KPixel(PixelEvolution):
    """Change ``pixels`` pixels, chosen by differential evolution."""

    pixels: PixelCount = 3

    @property
    def count(self) -> int:
        """``pixels``, once the size of the image is known."""
        return int(self.pixels)

    @property
    def pixel_budget(self) -> int | RelativeSize:
        """``pixels``."""
        return self.pixels


@attacks.add("one-pixel-exhaustive")
@final
@dataclass(frozen=True, kw_only=True)
class ExhaustiveOnePixel(Attack):
    """Every pixel at every corner of the colour cube: 8 H W evaluations per image, and no luck.

    A reference for ``one-pixel``: what it finds, the evolution should find too.

    Args:
        batch: candidates scored together.
    """

    batch: Count = 512

    access = "scores"

    def budget(self) -> Budget:
        """Return one pixel, of any colour."""
        return Budget(l0=1)

    def most_queries(self, height: int, width: int) -> int:
        """Return the corners of the colour cube times the pixels, ``height`` x ``width``."""
        return 8 * height * width

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Search the images of ``oracle`` one by one until each is fooled; ``rngs`` stay unused."""
        pixels = all_corners(*oracle.images.shape[-2:]).to(oracle.images.device)
        for image in oracle.active().tolist():
            for part in pixels.split(min(self.batch, candidates_at_once(oracle.images))):
                copies = oracle.images[image].repeat(len(part), 1, 1, 1)
                oracle.submit(painted(copies, part), part.new_full((len(part),), image))
                if image not in oracle.active():
                    break


def all_corners(height: int, width: int) -> Tensor:
    """Return every pixel at every corner of the colour cube, ``(8 * H * W, 1, 5)``.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.

    Example:
        >>> all_corners(1, 1)[:2, 0]
        tensor([[  0,   0,   0,   0,   0],
                [  0,   0,   0,   0, 255]])
    """
    places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    corners = torch.tensor(list(product((0, MAX_LEVEL), repeat=3)))
    rows = [places.repeat_interleave(len(corners), 0), corners.repeat(len(places), 1)]
    return torch.cat(rows, dim=1).unsqueeze(1)
