"""One-pixel attack by differential evolution, batched across images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.attacks.oracle import Oracle
from robustbench_aigi.hashing import Draws


@attacks.add("one-pixel")
@final
@dataclass(frozen=True, kw_only=True)
class OnePixel(Attack):
    """Move one pixel to the colour that hurts most. Source: Su, Vargas & Sakurai, IEEE TEVC 2019.

    A candidate is (row, column, red, green, blue), whole numbers. Each generation makes one child per parent,
    ``a + scale (b - c)`` from three random members, and keeps the better of the two. The paper's budget is a
    population of 400 for 100 generations.
    """

    access = "scores"
    population: int = 400
    generations: int = 100
    scale: float = 0.5

    def budget(self) -> Budget:
        """One pixel, of any colour."""
        return Budget(l0=1)

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Evolve the populations of all images still active together."""
        which = oracle.active()
        if not len(which):
            return
        top = torch.tensor([*oracle.images.shape[-2:], 256, 256, 256]) - 1
        members = torch.stack([self._first(top, rngs[i]) for i in which.tolist()])
        fitness = self._score(oracle, members, which)
        for _ in range(self.generations):
            still = torch.isin(which, oracle.active())
            which, members, fitness = which[still], members[still], fitness[still]
            if not len(which):
                return
            children = self._children(members, top, [rngs[i] for i in which.tolist()])
            scores = self._score(oracle, children, which)
            better = scores <= fitness
            members = torch.where(better.unsqueeze(2), children, members)
            fitness = torch.where(better, scores, fitness)

    def _first(self, top: Tensor, rng: torch.Generator) -> Tensor:
        """Places uniform; colours normal around mid grey, as in the paper."""
        places = (torch.rand(self.population, 2, generator=rng) * (top[:2] + 1)).long()
        colours = (128 + 127 * torch.randn(self.population, 3, generator=rng)).round().clamp(0, 255).long()
        return torch.cat([places, colours], dim=1)

    def _children(self, members: Tensor, top: Tensor, rngs: Sequence[torch.Generator]) -> Tensor:
        count = self.population
        draws = torch.stack([torch.stack([torch.randperm(count, generator=rng) for _ in range(3)]) for rng in rngs])
        a, b, c = (members.gather(1, draws[:, k, :, None].expand(-1, -1, 5)) for k in range(3))
        children = (a + self.scale * (b - c)).round().long()
        return torch.minimum(children.clamp(min=0), top)

    def _score(self, oracle: Oracle, members: Tensor, which: Tensor) -> Tensor:
        """Margins ``(A, P)`` of every member, an image's population at a time, so memory does not grow with images."""
        rows = torch.arange(self.population)
        margins = []
        for image, own in zip(which.tolist(), members, strict=True):
            candidates = oracle.images[image].repeat(self.population, 1, 1, 1)
            candidates[rows, :, own[:, 0], own[:, 1]] = own[:, 2:].to(candidates)
            margins.append(oracle.score(candidates, torch.full((self.population,), image)))
        return torch.stack(margins)
