"""An ensemble for detectors with one logit: APGD, FAB and Square in turn."""

from dataclasses import dataclass
from typing import ClassVar, final

from robustbench_aigi.attacks._engine.norm_balls import Ball, L2Ball, LinfBall
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, attacks
from robustbench_aigi.attacks.gradient.apgd import APGD, APGDL2, APGDLinf
from robustbench_aigi.attacks.gradient.fab import FAB, FABL2, FABLinf
from robustbench_aigi.attacks.score.square import Square, SquareL2, SquareLinf
from robustbench_aigi.config.units import Count, QueryCount
from robustbench_aigi.io.hashing import Draws


@dataclass(frozen=True, kw_only=True)
class AABinary(Ball):
    """AutoAttack's idea for two classes, where its standard version does not run.

    APGD-CE and APGD-margin follow the same gradient where there is one logit (see :mod:`apgd`), so
    APGD runs from two random starts instead. An image leaves as soon as a member fools the
    detector; each member draws the random numbers it draws when run alone, so the robust accuracy
    is at most that of any member. Source: Croce and Hein, ICML 2020.

    Args:
        steps: steps of APGD and FAB.
        restarts: random starts of APGD.
        queries: maximum number of evaluations per image by Square.
    """

    steps: Count = 100
    restarts: Count = 2
    queries: QueryCount = 5000

    access = "gradients"
    kinds: ClassVar[tuple[type[APGD], type[FAB], type[Square]]]

    def members(self) -> tuple[Attack, ...]:
        """Return the attacks, the quickest first."""
        apgd, fab, square = self.kinds
        return (
            apgd(eps=self.eps, steps=self.steps, restarts=self.restarts),
            fab(eps=self.eps, steps=self.steps),
            square(eps=self.eps, queries=self.queries),
        )

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Run each member on ``oracle``, with the generators of its own name for ``rngs``."""
        for member in self.members():
            member.perturb(oracle, rngs.of(member.seed_name))


@attacks.add("aa-binary-linf")
@final
@dataclass(frozen=True, kw_only=True)
class AABinaryLinf(LinfBall, AABinary):
    """AutoAttack for one logit (APGD, FAB, Square), in the L-inf ball; ``eps`` in grey levels."""

    kinds = (APGDLinf, FABLinf, SquareLinf)


@attacks.add("aa-binary-l2")
@final
@dataclass(frozen=True, kw_only=True)
class AABinaryL2(L2Ball, AABinary):
    """AutoAttack for one logit (APGD, FAB, Square), in L2; ``eps`` in the [0, 1]-pixel norm."""

    kinds = (APGDL2, FABL2, SquareL2)
