"""FGSM: one step by the sign of the gradient."""

from dataclasses import dataclass
from typing import final

from robustbench_aigi.attacks._engine.norm_balls import LinfBall
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.io.hashing import Draws


@attacks.add("fgsm")
@final
@dataclass(frozen=True, kw_only=True)
class FGSM(LinfBall):
    """The whole budget in one step by the sign of the gradient.

    Source: Goodfellow et al., ICLR 2015.
    """

    access = "gradients"
    is_single_step = True

    @property
    def starts_from_clean(self) -> bool:
        """Yes."""
        return True

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Step from the clean images of ``oracle``; ``rngs`` stay unused.

        It takes one backward pass there and one forward pass at the end of the step.
        """
        which = oracle.active()
        if not len(which):
            return
        clean = oracle.images[which]
        _, gradient = oracle.submit_with_gradient(clean, which)
        change = self.project(self.radius * self.steepest_step(gradient), clean)
        oracle.submit(clean + change, which)
