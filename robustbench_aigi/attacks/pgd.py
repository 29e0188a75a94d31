"""The loop that the projected-gradient attacks share; each norm is a file of its own."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_aigi.attacks.base import Attack
from robustbench_aigi.attacks.oracle import Oracle


@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Descent on the margin with a random start. Source: Madry et al., ICLR 2018.

    One pass gives both the score and the slope of an iterate, because every iterate shown is on the grid. The margin is
    the logit itself, so a saturated sigmoid cannot hide the slope.
    """

    access = "gradients"
    eps: float = 8
    step: float = 2
    steps: int = 10
    random_start: bool = True

    def perturb(self, oracle: Oracle, rngs: Sequence[torch.Generator]) -> None:
        """Step, project, round, score; drop what is fooled."""
        which = oracle.active()
        clean = oracle.images[which]
        change = torch.zeros_like(clean)
        if self.random_start:
            change = torch.stack([self.start(clean[0], rngs[i]) for i in which.tolist()]) if len(which) else change
            change = self.inside(change, clean)
        for _ in range(self.steps):
            if not len(which):
                return
            _, slope = oracle.ascend(self.on_grid(change, clean), which)
            still = torch.isin(which, oracle.active())
            which, clean, change, slope = which[still], clean[still], change[still], slope[still]
            change = self.inside(change + self.move(slope), clean)
        if len(which):
            oracle.score(self.on_grid(change, clean), which)

    @abstractmethod
    def start(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """A random change of one image, grey levels, shaped as ``like``."""

    @abstractmethod
    def move(self, slope: Tensor) -> Tensor:
        """The step to take, in grey levels, along ``(M, 3, H, W)`` slopes."""

    @abstractmethod
    def inside(self, change: Tensor, clean: Tensor) -> Tensor:
        """The nearest change that keeps the image in the ball and in [0, 255]."""

    def on_grid(self, change: Tensor, clean: Tensor) -> Tensor:
        """The image of a change, in whole grey levels, still inside the ball."""
        return (clean + change).round().clamp(0, 255)
