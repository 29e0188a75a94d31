"""Projected gradient descent, in the L-inf and in the L2 ball."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.best_seen import rows_at, select_rows
from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall, scaled
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.config.relative_size import RelativeSize
from robustbench_aigi.config.units import Count, L2Step, LinfStep, Share
from robustbench_aigi.io.hashing import Draws

HASHED_AT_ONCE = 2**20
"""Values of an image that are hashed at once, so that a photograph is not copied to int64."""


@dataclass(frozen=True, kw_only=True)
class PGD(Ball):
    """Descent on the margin from random starts.

    One pass gives both the score and the gradient of an iterate, because every iterate shown is on
    the grid. The margin is the logit itself, so a saturated sigmoid cannot hide the gradient.
    Source: Madry et al., ICLR 2018.

    Args:
        step: length of a step, in the unit of ``eps``.
        steps: gradient steps per start.
        restarts: starts; those after the first are random, and for the images not yet fooled.
        momentum: share of the last direction that is kept. Source: Dong et al., CVPR 2018.
        random_start: whether the first start is random, or the clean image.
    """

    step: float | RelativeSize = 2
    steps: Count = 10
    restarts: Count = 1
    momentum: Share = 0.0
    random_start: bool = True

    access = "gradients"

    @property
    def starts_from_clean(self) -> bool:
        """Whether the first start is the clean image."""
        return not self.random_start

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Descend on the active images of ``oracle`` from every start, drawn with ``rngs``."""
        for turn in range(self.restarts):
            which = oracle.active()
            if len(which):
                is_random = self.random_start or turn > 0
                self._descend(oracle, self._begin(oracle, which, rngs if is_random else None))

    def _begin(self, oracle: Oracle, which: Tensor, rngs: Draws | None) -> "PGDState":
        """Return the state at a start: the clean images, or random ones if there are ``rngs``."""
        clean = rows_at(which, oracle.images)
        nothing = clean.new_zeros(1).expand_as(clean)
        change = nothing
        if rngs is not None:
            starts = torch.stack([self.random_change(clean[0], rngs[i]) for i in which.tolist()])
            change = self.project(starts, clean)
        predicted = clean.new_full((len(which),), torch.inf)
        return PGDState(which, clean, change, nothing, predicted)

    def _descend(self, oracle: Oracle, state: "PGDState") -> None:
        """Step, project, round and score; drop what is fooled, and what repeats itself."""
        cycles = CycleDetector(len(oracle.labels))
        for _ in range(self.steps):
            shown = self.quantise(state.change, state.clean)
            worth_a_gradient = self._is_new(cycles, shown, state.which)
            worth_a_gradient &= ~self._already_fooled(oracle, shown, state, worth_a_gradient)
            state = state.only(worth_a_gradient)
            (shown,) = select_rows(worth_a_gradient, shown)
            if not len(state.which):
                return
            margins, gradient = oracle.submit_with_gradient(shown, state.which)
            is_active = oracle.is_active(state.which)
            state = state.only(is_active)
            margins, gradient = select_rows(is_active, margins, gradient)
            del shown  # each is as large as the images, and a photograph is large
            self._move(state, margins, gradient)
            del gradient
        if len(state.which):
            oracle.submit(self.quantise(state.change, state.clean), state.which)

    def _is_new(self, cycles: "CycleDetector", shown: Tensor, which: Tensor) -> Tensor:
        """Return bool ``(M,)``, whether iterates may lead to others than those seen before."""
        if self.deterministic_steps and not self.momentum:
            return cycles.is_new(shown, which)
        return torch.ones_like(which, dtype=torch.bool)

    @staticmethod
    def _already_fooled(
        oracle: Oracle, shown: Tensor, state: "PGDState", candidates: Tensor
    ) -> Tensor:
        """Score the iterates that the last gradient predicts will fool.

        A score costs a third of a gradient, which an image that is fooled does not need.

        Args:
            oracle: what scores them.
            shown: ``(M, 3, H, W)``, the iterates.
            state: of the descent.
            candidates: bool ``(M,)``, the iterates that may be scored.

        Returns:
            Bool ``(M,)``, whether an image is done with.
        """
        likely = candidates & (state.predicted_margins < 0)
        if oracle.full or not bool(likely.any()):
            return torch.zeros_like(likely)
        oracle.submit(shown[likely], state.which[likely])
        return ~oracle.is_active(state.which)

    def _move(self, state: "PGDState", margins: Tensor, gradient: Tensor) -> None:
        """Take a projected step, and predict the margins there by the gradient."""
        direction = gradient
        if self.momentum:
            direction = self.momentum * state.velocity + scaled(gradient, 1.0)
            state.velocity = direction
        step = self.steepest_step(direction).mul_(float(self.step) * self.unit)
        moved = self.project(step.add_(state.change), state.clean)
        gain = torch.sub(moved, state.change, out=step).mul_(gradient).sum(dim=(1, 2, 3))
        state.predicted_margins = margins - gain
        state.change = moved


@dataclass
class PGDState:
    """The state of a descent, one row per image still in it.

    Attributes:
        which: indices of the images.
        clean: the clean images, in grey levels.
        change: the present iterate, as a change in grey levels.
        velocity: the direction of the last step.
        predicted_margins: ``(M,)``, margins of the present iterate if the detector were linear;
            infinite before the first step.
    """

    which: Tensor
    clean: Tensor
    change: Tensor
    velocity: Tensor
    predicted_margins: Tensor

    def only(self, mask: Tensor) -> "PGDState":
        """Return the state of the images where ``mask`` ``(M,)`` is true."""
        if bool(mask.all()):
            return self
        return PGDState(*(value[mask] for value in vars(self).values()))


class CycleDetector:
    """Finds iterates that were seen before, by their hashes.

    A fixed sign step then repeats for ever, and need not be taken again.

    Args:
        count: number of images in the batch.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._seen: list[Tensor] = []
        self._rng = torch.Generator().manual_seed(0)
        self._weights = torch.empty(0, dtype=torch.int64)
        self._factors: list[int] = []

    def is_new(self, shown: Tensor, which: Tensor) -> Tensor:
        """Return bool ``(M,)``, whether iterates are seen for the first time, and remember them.

        Args:
            shown: ``(M, 3, H, W)``, whole grey levels.
            which: int64 ``(M,)``, the image that each belongs to.
        """
        hashes = self._hashes(shown.flatten(1))
        new = torch.ones_like(which, dtype=torch.bool)
        for earlier in self._seen:
            new &= earlier[which] != hashes
        row = which.new_zeros(self._count)
        row[which] = hashes
        self._seen.append(row)
        return new

    def _hashes(self, rows: Tensor) -> Tensor:
        """Return a sum with random weights, modulo 2^64, for each row; large rows part by part."""
        parts = rows.split(HASHED_AT_ONCE, dim=1)
        if not self._factors:
            self._weights = self._drawn(parts[0].shape[1]).to(rows.device)
            self._factors = [1, *self._drawn(len(parts) - 1).tolist()]
        hashes = torch.zeros(len(rows), dtype=torch.int64, device=rows.device)
        for part, factor in zip(parts, self._factors, strict=True):
            weighted = part.to(torch.int64).mul_(self._weights[: part.shape[1]])
            hashes += factor * weighted.sum(dim=1)
        return hashes

    def _drawn(self, count: int) -> Tensor:
        return torch.randint(-(2**62), 2**62, (count,), generator=self._rng)


@attacks.add("pgd-linf")
@final
@dataclass(frozen=True, kw_only=True)
class PGDLinf(LinfBall, PGD):
    """PGD: sign-gradient steps in the L-inf ball; ``eps`` and ``step`` in grey levels."""

    step: LinfStep = 2


@attacks.add("pgd-l2")
@final
@dataclass(frozen=True, kw_only=True)
class PGDL2(L2Ball, PGD):
    """PGD: normalised-gradient steps in L2; ``eps`` and ``step`` in the [0, 1]-pixel norm."""

    step: L2Step = 0.25
