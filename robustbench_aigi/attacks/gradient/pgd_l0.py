"""Few-pixel PGD: the colours of a few pixels, through the gradient."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.best_seen import replaced_rows, rows_at
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.config.units import LinfStep, PairCount, PixelCount
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.io.hashing import Draws


@attacks.add("pgd-l0")
@final
@dataclass(frozen=True, kw_only=True)
class PGDL0(Attack):
    """PGD on at most ``pixels`` pixels, each of any colour.

    The first half of the steps takes the pixels that promise most by the mean of all gradients so
    far, and pushes them to the corners of the colour cube; that is the optimum of a linear
    detector. The second half descends from the best of those with projection onto the few pixels
    that changed most. Source: Croce and Hein, Sparse and Imperceivable Adversarial Attacks, ICCV
    2019 (PGD0).

    Args:
        pixels: maximum number of changed pixels, or their share, such as ``"0.1%"``.
        steps: gradient steps, half of them on corners.
        step: length of a step of the second half, in grey levels per value.
    """

    pixels: PixelCount = 5
    steps: PairCount = 40
    step: LinfStep = 64

    access = "gradients"

    def budget(self) -> Budget:
        """Return ``pixels`` pixels."""
        return Budget(l0=self.pixels)

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Search ``oracle`` at corners first, then by descent; ``rngs`` stay unused."""
        state = PGDL0State.begin(oracle)
        for step in range(self.steps):
            if not len(state.which):
                return
            margins, gradient = oracle.submit_with_gradient(state.shown, state.which)
            state.note(margins, gradient)
            state = state.only(oracle.is_active(state.which))
            size = state.gradient.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, 1, 1, 1)
            state.gradients = (state.gradient / size).add_(state.gradients)
            if step < self.steps // 2:
                state.shown = self._corners(state.clean, state.gradients)
            elif step == self.steps // 2:
                state.shown = self._stepped(state.best, state.best_gradient, state.clean)
            else:
                state.shown = self._stepped(state.shown, state.gradient, state.clean)
        if len(state.which):
            oracle.submit(state.shown, state.which)

    def _corners(self, clean: Tensor, gradient: Tensor) -> Tensor:
        """Put the most promising pixels at the corner of their colour cube that promises most."""
        corners = clean.masked_fill(gradient > 0, MAX_LEVEL).masked_fill_(gradient < 0, 0.0)
        gain = (corners - clean).mul_(gradient).sum(dim=1, keepdim=True)
        return torch.where(largest(gain, int(self.pixels)), corners, clean)

    def _stepped(self, shown: Tensor, gradient: Tensor, clean: Tensor) -> Tensor:
        """Take a step, and keep the pixels that it changes most.

        The mean change per value of the kept pixels is ``step``.
        """
        reach = int(self.pixels) * self.step * gradient.shape[1]
        total = torch.linalg.vector_norm(gradient, 1, dim=(1, 2, 3), keepdim=True).clamp(min=1e-30)
        wanted = (reach * gradient).div_(total).add_(shown)
        inside = wanted.round().clamp_(0, MAX_LEVEL)
        worth = (wanted - clean).square_().sub_(wanted.sub_(inside).square_())
        worth = worth.sum(dim=1, keepdim=True)
        return torch.where(largest(worth, int(self.pixels)), inside, clean)


@dataclass
class PGDL0State:
    """The state of a search, one row per image still in it; images are in grey levels.

    Attributes:
        which: indices of the images.
        clean: the clean images.
        shown: the present iterates.
        gradient: at the present iterates.
        gradients: sum of the normalised gradients so far.
        least: ``(M,)``, the smallest margin so far.
        best: the iterate with the smallest margin.
        best_gradient: its gradient.
    """

    which: Tensor
    clean: Tensor
    shown: Tensor
    gradient: Tensor
    gradients: Tensor
    least: Tensor
    best: Tensor
    best_gradient: Tensor

    @classmethod
    def begin(cls, oracle: Oracle) -> "PGDL0State":
        """Return the state at the clean images of ``oracle`` that are active."""
        which = oracle.active()
        clean = rows_at(which, oracle.images)
        nothing = clean.new_zeros(1).expand_as(clean)
        no_margin = clean.new_full((len(which),), torch.inf)
        return cls(which, clean, clean, nothing, nothing, no_margin, clean, nothing)

    def only(self, mask: Tensor) -> "PGDL0State":
        """Return the state of the images where ``mask`` ``(M,)`` is true."""
        if bool(mask.all()):
            return self
        return PGDL0State(*(value[mask] for value in vars(self).values()))

    def note(self, margins: Tensor, gradient: Tensor) -> None:
        """Record the evaluation of the present iterates.

        Args:
            margins: ``(M,)``.
            gradient: ``(M, 3, H, W)``.
        """
        self.gradient = gradient
        better = margins < self.least
        self.least = torch.where(better, margins, self.least)
        self.best = replaced_rows(better, self.shown, self.best)
        self.best_gradient = replaced_rows(better, gradient, self.best_gradient)


def largest(values: Tensor, count: int) -> Tensor:
    """Return whether each pixel's value is among the ``count`` largest of its image.

    Args:
        values: ``(M, 1, H, W)``.
        count: pixels per image.

    Example:
        >>> largest(torch.tensor([[[[1.0, 3.0], [2.0, 0.0]]]]), 2)
        tensor([[[[False,  True],
                  [ True, False]]]])
    """
    flat = values.flatten(1)
    places = flat.topk(min(count, flat.shape[1]), dim=1).indices
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, places, True).view_as(values)
