"""What the adapters of other libraries share: our budget, grid, randomness and counts."""

import dataclasses
import inspect
import math
import warnings
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import Ball
from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget
from robustbench_aigi.attacks.external.traits import AttackTraits
from robustbench_aigi.attacks.external.two_logit import TwoLogits
from robustbench_aigi.attacks.gradient.pgd import PGDL2, PGDLinf
from robustbench_aigi.attacks.loading import load_attack
from robustbench_aigi.config.quantity import quantities
from robustbench_aigi.detectors._support.randomness import seeded
from robustbench_aigi.errors import ConfigError, RobustbenchError, UnavailableError, UserError
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.io.hashing import Draws

NORM_BALLS: Mapping[str, type[Ball]] = MappingProxyType({"linf": PGDLinf, "l2": PGDL2})
"""Norm to an attack that has its ball."""
OVERSHOOT_FACTORS = (1.0, 1.02, 1.05, 1.1, 1.25, 1.5, 2.0, 3.0)
"""Lengths at which a change that ends on the decision boundary is tried: on the grid it may fall
short of the boundary.
"""


@dataclass(frozen=True, kw_only=True)
class ThirdParty(Attack):
    """An attack of another library; its fields are its constructor's parameters, in our units.

    ``adapters.attack_class`` makes the class of each attack. Passes are counted in single images
    and shared evenly among the images attacked together, because a library does not say which it
    asks about.

    Attributes:
        library: its name, the part before the colon.
        table: attack to its traits; those of an attack that is left out follow from its
            constructor.
        spelling: norm to how the library writes it.
        fixed: arguments of constructors that are not for the user to choose.
        kind: the attack's name in the library.
        source: the library's class.
        traits: of this attack.
    """

    runs_on_device = False

    library: ClassVar[str]
    table: ClassVar[Mapping[str, AttackTraits]]
    spelling: ClassVar[Mapping[str, Any]]
    fixed: ClassVar[Mapping[str, Any]]
    kind: ClassVar[str]
    source: ClassVar[type]
    traits: ClassVar[AttackTraits]

    @property
    def allows_half_gradients(self) -> bool:
        """False: the library has one score for the search and for the result."""
        return False

    @classmethod
    @abstractmethod
    def sources(cls) -> dict[str, type]:
        """Return the library's classes by name.

        Raises:
            UnavailableError: it is not installed.
        """

    @abstractmethod
    def attacked(self, view: TwoLogits, images: Tensor, labels: Tensor, seed: int) -> Tensor:
        """Return what the library makes of images, in [0, 1].

        Args:
            view: the detector as a classifier of two classes.
            images: ``(M, 3, H, W)`` in [0, 1].
            labels: ``(M,)``, 1 = AI-generated.
            seed: for a library that takes one.
        """

    def __post_init__(self) -> None:
        super().__post_init__()
        if "dlr" in [getattr(self, f.name) for f in dataclasses.fields(self)]:
            raise ConfigError(
                f"{self.name}: the DLR loss needs four logits, a detector gives two. Write loss ="
                " 'ce'."
            )

    def __reduce__(self) -> tuple[Any, ...]:
        numbers = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return partial(load_attack, self.name, **numbers), ()

    @property
    def name(self) -> str:
        """The library, and the attack in it."""
        return f"{self.library}:{self.kind}"

    def budget(self) -> Budget:
        """Return the ball of its norm; empty for a minimum-norm attack, or one of another bound."""
        if self.traits.norm is None:
            return Budget()
        return Budget(**{self.traits.norm: getattr(self, self.traits.size)})

    def arguments(self, **more: Any) -> dict[str, Any]:
        """Return the constructor's arguments, in the library's units.

        Args:
            more: further arguments, which are used if the constructor has them, as those of
                ``fixed`` are.
        """
        numbers = dataclasses.asdict(self)
        for key, quantity in quantities(type(self)).items():
            if quantity.white:
                numbers[key] = numbers[key] / quantity.white
        norm = self.spelling.get(self.traits.norm or self.minimises or "")
        optional = {**self.fixed, "norm": norm, **more}
        taken = inspect.signature(self.source).parameters
        for key, value in optional.items():
            if key in taken and value is not None:
                numbers[key] = value
        return numbers

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Let the library attack the active images of ``oracle``, seeded by ``rngs``."""
        active = oracle.active()
        for which in active.split(1 if self.traits.takes_single_images else max(1, len(active))):
            if len(which):
                self._attack(oracle, which, rngs)

    def _attack(self, oracle: Oracle, which: Tensor, rngs: Draws) -> None:
        seeds = [int(torch.randint(2**31, (), generator=rngs[i])) for i in which.tolist()]
        view = TwoLogits(oracle)
        clean = oracle.images[which].contiguous()
        images = self._run_library(view, clean, oracle.labels[which], sum(seeds) % 2**31)
        oracle.forwards[which] += math.ceil(view.forwards / len(which))
        oracle.backwards[which] += math.ceil(view.backwards / len(which))
        self._submit(oracle, images * MAX_LEVEL - clean, which)

    def _run_library(self, view: TwoLogits, clean: Tensor, labels: Tensor, seed: int) -> Tensor:
        """Return the library's images in [0, 1], with the global generators seeded meanwhile."""
        try:
            with seeded(seed), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                images = self.attacked(view, clean / MAX_LEVEL, labels, seed).detach().to(clean)
            if not bool(images.isfinite().all()):
                raise FloatingPointError("it returned an image with NaN or infinite values")
        except RobustbenchError:
            raise
        except ModuleNotFoundError as error:
            raise UnavailableError(
                f"{self.name} needs a package that is not installed. Type: pip install {error.name}"
            ) from error
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise UserError(
                f"{self.name} failed inside {self.library}: {why}. Change its parameters."
            ) from error
        return images

    def _submit(self, oracle: Oracle, change: Tensor, which: Tensor) -> None:
        """Score the change on the grid; stretch one that ends on the boundary until it fools."""
        factors = OVERSHOOT_FACTORS if self.traits.stops_at_boundary else OVERSHOOT_FACTORS[:1]
        for factor in factors:
            margins = oracle.submit(self._on_grid(change, oracle.images[which], factor), which)
            is_right = margins >= 0
            change = change[is_right]
            which = which[is_right]
            if not len(which):
                return

    def _on_grid(self, change: Tensor, clean: Tensor, factor: float) -> Tensor:
        """Return the rounded image of a stretched change, projected into the ball.

        A change that left the ball by more than a float's error is not projected, so that the check
        of the budget reports it.
        """
        rounded = (clean + change * factor).round().clamp(0, MAX_LEVEL)
        ball_class = NORM_BALLS.get(self.traits.norm or "")
        if ball_class is None:
            return rounded
        ball = ball_class(eps=getattr(self, self.traits.size))
        left = ball.size(change) > float(ball.eps) * ball.unit * (1 + 1e-3) + 1e-2
        inside = ball.quantise(ball.project(change * factor, clean), clean)
        return torch.where(left, rounded, inside)
