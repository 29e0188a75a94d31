"""Few-pixel attacks on scores: differential evolution batched across images, and the exhaustive
search of one pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.config.units import (
    Count,
    CountOrNone,
    DrawCount,
    PixelCount,
    Population,
    Share,
)
from robustbench_aigi.imaging.pixels import LEVELS
from robustbench_aigi.io.hashing import Draws

GENES = 5
"""Numbers of a pixel: row, column, red, green, blue."""
TOGETHER = 512
"""Candidates scored together, where one image has fewer."""


@dataclass(frozen=True, kw_only=True)
class PixelEvolution(Attack):
    """Move a few pixels to the colours that hurt most. Source: Su, Vargas & Sakurai, IEEE TEVC
    2019.

    A candidate is (row, column, red, green, blue) for each pixel, whole numbers. Each generation
    makes one child per parent, ``best + f (b - c)`` from the best member and two random ones, and
    keeps the better of the two. The paper starts from a random member, with ``f`` of a half; with
    few evaluations this fools fewer. Its budget is a population of 400 for 100 generations.

    Args:
        scale: the least ``f``, which is drawn anew for every child, up to 1.
        draws: scores averaged at each step, where the detector scores at random; each counts as a
            query.
    """

    population: Population = 400
    generations: CountOrNone = 100
    scale: Share = 0.5
    draws: DrawCount = 1

    access = "scores"

    @property
    def count(self) -> int:
        """Pixels of a candidate."""
        return 1

    def budget(self) -> Budget:
        """The pixels, of any colour, and the members of all generations."""
        return Budget(l0=self.count, queries=self.draws * self.population * (self.generations + 1))

    @property
    def averaged(self) -> int:
        """``draws``."""
        return self.draws

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Evolve the populations of all images still active together."""
        which = oracle.active()
        if not len(which):
            return
        top = torch.tensor([*oracle.images.shape[-2:], 256, 256, 256]).repeat(self.count) - 1
        members = torch.stack([self._first(top, rngs[i]) for i in which.tolist()])
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

    def _first(self, top: Tensor, rng: torch.Generator) -> Tensor:
        """Places uniform; colours at corners of their cube, where a pixel does most (the paper
        draws around grey).
        """
        shape = (self.population, self.count)
        places = (torch.rand(*shape, 2, generator=rng) * (top[:2] + 1)).long()
        colours = LEVELS * torch.randint(0, 2, (*shape, 3), generator=rng)
        return torch.cat([places, colours], dim=2).flatten(1)

    def _children(
        self, members: Tensor, fitness: Tensor, top: Tensor, rngs: Sequence[torch.Generator]
    ) -> Tensor:
        count = self.population
        best = members.gather(
            1, fitness.argmin(dim=1)[:, None, None].expand(-1, 1, members.shape[2])
        )
        draws = torch.stack(
            [torch.stack([torch.randperm(count, generator=rng) for _ in range(2)]) for rng in rngs]
        )
        b, c = (members.gather(1, draws[:, k, :, None].expand_as(members)) for k in range(2))
        share = self.scale + (1 - self.scale) * torch.stack(
            [torch.rand(count, 1, generator=rng) for rng in rngs]
        )
        children = (best + share * (b - c)).round().long()
        return torch.minimum(children.clamp(min=0), top)

    def _score(self, oracle: Oracle, members: Tensor, which: Tensor) -> Tensor:
        """Margins ``(A, P)`` of every member; a few images at a time, so memory does not grow with
        their number.
        """
        margins = []
        together = max(1, TOGETHER // self.population)
        for images, own in zip(which.split(together), members.split(together), strict=True):
            index = images.repeat_interleave(self.population)
            candidates = painted(oracle.images[index], own.reshape(-1, self.count, GENES))
            margins.append(oracle.submit(candidates, index))
        return torch.cat(margins).view(len(which), self.population)


def painted(copies: Tensor, pixels: Tensor) -> Tensor:
    """Set ``(M, K, 5)`` pixels of images ``(M, 3, H, W)``, in place; a later pixel covers an
    earlier.
    """
    rows = torch.arange(len(pixels))
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
        """``pixels``."""
        return self.pixels


@attacks.add("one-pixel-exhaustive")
@final
@dataclass(frozen=True, kw_only=True)
class ExhaustiveOnePixel(Attack):
    """Every pixel at every corner of the colour cube: 8 H W evaluations of an image, and no luck.

    The oracle of ``one-pixel``: what it finds, the evolution should find too.
    """

    batch: Count = 512

    access = "scores"

    def budget(self) -> Budget:
        """One pixel, of any colour."""
        return Budget(l0=1)

    def most_queries(self, height: int, width: int) -> int:
        """Every corner of the colour cube at every pixel."""
        return 8 * height * width

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Image by image, until it is fooled."""
        height, width = oracle.images.shape[-2:]
        places = torch.cartesian_prod(torch.arange(height), torch.arange(width))
        corners = torch.tensor(list(product((0, LEVELS), repeat=3)))
        pixels = torch.cat(
            [places.repeat_interleave(len(corners), 0), corners.repeat(len(places), 1)], dim=1
        ).unsqueeze(1)
        for image in oracle.active().tolist():
            for part in pixels.split(self.batch):
                copies = oracle.images[image].repeat(len(part), 1, 1, 1)
                oracle.submit(painted(copies, part), torch.full((len(part),), image))
                if image not in oracle.active():
                    break
