"""Few-pixel PGD: the colours of a few pixels, through the gradient."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.config.units import LinfStep, PairCount, PixelCount
from robustbench_aigi.imaging.pixels import LEVELS
from robustbench_aigi.io.hashing import Draws


@attacks.add("pgd-l0")
@final
@dataclass(frozen=True, kw_only=True)
class PGDL0(Attack):
    """PGD on at most ``pixels`` pixels, each of any colour.

    The first half of the steps takes the pixels that promise most by the mean of all slopes so far,
    and pushes them to the corners of the colour cube; that is the optimum of a linear detector. The
    second half descends from the best of those with projection onto the few pixels that changed
    most. Source: Croce and Hein, Sparse and Imperceivable Adversarial Attacks, ICCV 2019 (PGD0).

    Args:
        step: length of a step of the second half, in grey levels a value.
    """

    pixels: PixelCount = 5
    steps: PairCount = 40
    step: LinfStep = 64

    access = "gradients"

    def budget(self) -> Budget:
        """``pixels`` pixels."""
        return Budget(l0=self.pixels)

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Corners first, then the descent."""
        which = oracle.active()
        clean = oracle.images[which]
        shown, heap = clean, torch.zeros_like(clean)
        least = torch.full((len(which),), torch.inf)
        best, best_slope = clean, heap
        for step in range(self.steps):
            if not len(which):
                return
            margins, gradient = oracle.submit_with_gradient(shown, which)
            better = margins < least
            least = torch.where(better, margins, least)
            rows = better.view(-1, 1, 1, 1)
            best, best_slope = (
                torch.where(rows, shown, best),
                torch.where(rows, gradient, best_slope),
            )
            which, clean, heap, gradient, shown, least, best, best_slope = oracle.remaining(
                which, clean, heap, gradient, shown, least, best, best_slope
            )
            heap = heap + gradient / gradient.flatten(1).norm(dim=1).clamp(min=1e-30).view(
                -1, 1, 1, 1
            )
            if step < self.steps // 2:
                shown = self._corners(clean, heap)
            elif step == self.steps // 2:
                shown = self._stepped(best, best_slope, clean)
            else:
                shown = self._stepped(shown, gradient, clean)
        if len(which):
            oracle.submit(shown, which)

    def _corners(self, clean: Tensor, gradient: Tensor) -> Tensor:
        """The corner of each pixel's cube that a slope promises most of, for the most promising
        pixels.
        """
        corners = torch.where(gradient > 0, LEVELS, torch.where(gradient < 0, 0.0, clean))
        gain = (gradient * (corners - clean)).sum(dim=1, keepdim=True)
        return torch.where(largest(gain, self.pixels), corners, clean)

    def _stepped(self, shown: Tensor, gradient: Tensor, clean: Tensor) -> Tensor:
        """A step whose mean per value of the kept pixels is ``step``, and the pixels that it
        changes most.
        """
        reach = self.pixels * self.step * gradient.shape[1]
        wanted = shown + reach * gradient / gradient.abs().sum(dim=(1, 2, 3), keepdim=True).clamp(
            min=1e-30
        )
        inside = wanted.round().clamp(0, LEVELS)
        worth = ((wanted - clean).square() - (wanted - inside).square()).sum(dim=1, keepdim=True)
        return torch.where(largest(worth, self.pixels), inside, clean)


def largest(values: Tensor, count: int) -> Tensor:
    """``(M, 1, H, W)`` whether a pixel's value is among the ``count`` largest of its image."""
    flat = values.flatten(1)
    places = flat.topk(min(count, flat.shape[1]), dim=1).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, places, True).view_as(values)
