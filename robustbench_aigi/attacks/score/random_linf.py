"""Uniform noise: what an attack by gradients must beat."""

from dataclasses import dataclass
from typing import final

import torch

from robustbench_aigi.attacks._engine.norm_balls import LinfBall
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.config.units import Count
from robustbench_aigi.io.hashing import Draws

SEED_NAME = "robustbench_aigi.evaluation.probes:Noise"
"""What its random numbers are seeded by: its address before it was registered."""


@attacks.add("random-linf")
@final
@dataclass(frozen=True, kw_only=True)
class RandomLinf(LinfBall):
    """Uniform noise in the L-inf ball, drawn again for every evaluation; ``eps`` in grey levels.

    Source: Carlini et al., On Evaluating Adversarial Robustness, 2019, for random noise as the
    attack that any other must beat.

    Args:
        looks: number of evaluations per image.
    """

    looks: Count = 10

    access = "scores"

    @property
    def seed_name(self) -> str:
        """The address it had before it was registered, so that its numbers stay the same."""
        return SEED_NAME

    @property
    def query_budget(self) -> int:
        """``looks``."""
        return self.looks

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Submit noise drawn with ``rngs`` for the active images of ``oracle``."""
        for _ in range(self.looks):
            which = oracle.active()
            if not len(which):
                return
            clean = oracle.images[which]
            change = torch.stack([self.random_change(clean[0], rngs[i]) for i in which.tolist()])
            oracle.submit(self.quantise(self.project(change, clean), clean), which)
