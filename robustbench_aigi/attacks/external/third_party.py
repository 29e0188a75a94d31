"""What the adapters of torchattacks and ART share: our budget, grid, randomness and counts around
their attacks.
"""

import dataclasses
import inspect
import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import Ball
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget
from robustbench_aigi.attacks.external.two_logit import TwoLogits
from robustbench_aigi.attacks.gradient.pgd import PGDL2, PGDLinf
from robustbench_aigi.attacks.loading import load_attack
from robustbench_aigi.config.quantity import quantities
from robustbench_aigi.config.units import L2Radius, L2Step, LinfRadius, UnroundedStep
from robustbench_aigi.detectors._support.randomness import seeded
from robustbench_aigi.errors import ConfigError, RobustbenchError, UnavailableError, UserError
from robustbench_aigi.imaging.pixels import LEVELS
from robustbench_aigi.io.hashing import Draws

BALLS: Mapping[str, type[Ball]] = MappingProxyType({"linf": PGDLinf, "l2": PGDL2})
DEFAULT_BUDGETS: Mapping[str, Mapping[str, tuple[Any, float]]] = MappingProxyType(
    {
        "linf": {
            "eps": (LinfRadius, 8),
            "max_epsilon": (LinfRadius, 16),
            "alpha": (UnroundedStep, 2),
            "eps_step": (UnroundedStep, 2),
        },
        "l2": {"eps": (L2Radius, 1.0), "alpha": (L2Step, 0.2), "eps_step": (L2Step, 0.25)},
    }
)
"""Norm to the numbers with its unit: their types, which know it, and their defaults."""
COUNTS = (
    *(
        "steps",
        "nb_steps",
        "nb_iter",
        "num_iter_set",
        "eot_iter",
        "max_iter",
        "max_iterations",
        "max_inner_iter",
    ),
    *("n_queries", "max_eval", "restarts", "n_restarts", "nb_restarts", "popsize", "batch_size"),
)
"""Numbers that libraries count with."""
OVERSHOOTS = (1.0, 1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0)
"""Lengths at which a change that ends on the decision boundary is shown: on the grid it may fall
short of it.
"""


@dataclass(frozen=True, kw_only=True)
class AttackTraits:
    """What there is to know of an attack beyond its constructor.

    Attributes:
        norm: of the ball it stays in; empty if it has none, "any" if its number ``norm`` chooses.
        size: its number that bounds the change.
        seeks: the norm whose smallest value it looks for, likewise, if it stays in no ball.
        boundary: it stops at the decision boundary, so its change is stretched until it fools on
            the grid.
        access: what it needs of a detector.
        numbers: defaults other than the library's, in our units.
        single: it takes one image at a time.
        refuse: why it cannot attack a detector, and what to use instead.
    """

    norm: Literal["", "linf", "l2", "l0", "any"] = ""
    size: str = "eps"
    minimises: Literal["", "linf", "l2", "l0", "any"] = ""
    boundary: bool = False
    access: Literal["scores", "gradients"] = "gradients"
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    single: bool = False
    refuse: str = ""


@dataclass(frozen=True, kw_only=True)
class ThirdParty(Attack):
    """An attack of another library. Its fields are the numbers of the library's constructor, in our
    units.

    ``adapters.attack_class`` makes the class of each attack. Passes are counted in single images
    and shared evenly among the images attacked together, because a library does not say which it
    asks about.

    Attributes:
        library: its name, the part before the colon.
        table: attack to what is known of it; those left out are told by their constructor.
        spelling: norm to how the library writes it.
        fixed: arguments of constructors that are not for the user to choose.
    """

    library: ClassVar[str]
    table: ClassVar[Mapping[str, AttackTraits]]
    spelling: ClassVar[Mapping[str, Any]]
    fixed: ClassVar[Mapping[str, Any]]
    kind: ClassVar[str]
    source: ClassVar[type]
    known: ClassVar[AttackTraits]

    @classmethod
    @abstractmethod
    def sources(cls) -> dict[str, type]:
        """The library's classes by name. Raises ``UnavailableError`` where it is not installed."""

    @abstractmethod
    def attacked(self, view: TwoLogits, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """What the library makes of images ``(M, 3, H, W)`` in [0, 1] with labels ``(M,)``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if "dlr" in [getattr(self, f.name) for f in dataclasses.fields(self)]:
            raise ConfigError(
                f"{self.name}: the DLR loss needs four logits, a detector gives two. Write loss ="
                " 'ce'."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(load_attack, self.name, **dataclasses.asdict(self)), ()

    @property
    def name(self) -> str:
        """The library, and the attack in it."""
        return f"{self.library}:{self.kind}"

    def budget(self) -> Budget:
        """The ball of its norm; none where it looks for the smallest change, or has another
        bound.
        """
        return (
            Budget(**{self.known.norm: getattr(self, self.known.size)})
            if self.known.norm
            else Budget()
        )

    def arguments(self, **more: Any) -> dict[str, Any]:
        """The constructor's, in the library's units, with those of ``fixed`` and ``more`` that it
        has.
        """
        numbers = dataclasses.asdict(self)
        sizes = {
            key: quantity.white
            for key, quantity in quantities(type(self)).items()
            if quantity.white
        }
        numbers |= {key: numbers[key] / white for key, white in sizes.items()}
        norm = self.spelling.get(self.known.norm or self.minimises)
        taken = inspect.signature(self.source).parameters
        return numbers | {
            k: v
            for k, v in {**self.fixed, "norm": norm, **more}.items()
            if k in taken and v is not None
        }

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Let the library attack what is active, the global generators seeded by the images'
        own.
        """
        active = oracle.active()
        for which in active.split(1 if self.known.single else max(1, len(active))):
            if len(which):
                self._attack(oracle, which, rngs)

    def _attack(self, oracle: Oracle, which: Tensor, rngs: Draws) -> None:
        seed = sum(int(torch.randint(2**31, (), generator=rngs[i])) for i in which.tolist()) % 2**31
        view, clean = TwoLogits(oracle), oracle.images[which].contiguous()
        try:
            with seeded(seed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                images = (
                    self.attacked(view, clean / LEVELS, oracle.labels[which], seed)
                    .detach()
                    .to(clean)
                )
            if not bool(images.isfinite().all()):
                raise FloatingPointError("an image it returned is no number")
        except RobustbenchError:
            raise
        except ModuleNotFoundError as error:
            raise UnavailableError(
                f"{self.name} needs a package that is not here. Type: pip install {error.name}"
            ) from error
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{self.name} failed inside {self.library}: {why}. Change its numbers."
            ) from error
        oracle.forwards[which] += math.ceil(view.forwards / len(which))
        oracle.backwards[which] += math.ceil(view.backwards / len(which))
        self._show(oracle, images * LEVELS - clean, which)

    def _show(self, oracle: Oracle, change: Tensor, which: Tensor) -> None:
        """Score the change on the grid; stretch what was to end on the boundary until it fools."""
        for stretch in OVERSHOOTS if self.known.boundary else OVERSHOOTS[:1]:
            margins = oracle.submit(self._on_grid(change, oracle.images[which], stretch), which)
            change, which = change[margins >= 0], which[margins >= 0]
            if not len(which):
                return

    def _on_grid(self, change: Tensor, clean: Tensor, stretch: float) -> Tensor:
        """Round, and come back into the ball, unless it was left by more than a float's error: the
        base will say so.
        """
        rounded = (clean + change * stretch).round().clamp(0, LEVELS)
        if self.known.norm not in BALLS:
            return rounded
        ball = BALLS[self.known.norm](eps=getattr(self, self.known.size))
        left = ball.size(change) > ball.eps * ball.unit * (1 + 1e-3) + 1e-2
        inside = ball.quantise(ball.project(change * stretch, clean), clean)
        return torch.where(left, rounded, inside)
