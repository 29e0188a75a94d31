"""Attacks through a transform of the image on its way, or through a detector's randomness."""

from dataclasses import dataclass, field
from typing import Any, cast, final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks._engine.views import AveragedDetector, Delivered
from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.attacks.loading import load_attack, plain_numbers
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import DrawCount
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.io.hashing import Draws


@dataclass(frozen=True, kw_only=True)
class ThroughTransform(Attack):
    """Another attack, run at full strength on a view of the detector.

    Args:
        attack: its name.
        numbers: its own parameters, such as ``{ eps = 8 }``.
        draws: draws that the view averages over.
    """

    attack: str = "pgd-linf"
    numbers: dict[str, Any] = field(default_factory=dict)
    draws: DrawCount = 1

    access = "gradients"

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "numbers", plain_numbers(self.inner, self.numbers))

    @property
    def inner(self) -> Attack:
        """The other attack."""
        return load_attack(self.attack, **self.numbers)

    @property
    def revision(self) -> int:
        """That of the other attack."""
        return self.inner.revision

    def attacked(
        self,
        view: Detector,
        oracle: Oracle,
        rngs: Draws,
        known: Tensor | None = None,
        passes_per_call: int = 1,
    ) -> Tensor:
        """Return the images that are worst for a view, in grey levels; its passes are charged.

        Args:
            view: what is attacked.
            oracle: whose images are attacked, and which is charged.
            rngs: one random generator per image.
            known: candidates to begin with, ``(N, 3, H, W)`` in grey levels, inside the attack's
                budget.
            passes_per_call: passes of the detector itself that one score of the view takes.
        """
        inner = self.inner.at_size(*oracle.images.shape[2:])
        with inner.oracle(view, oracle.images, oracle.labels, full=True) as own:
            if known is not None:
                own.submit(known, torch.arange(len(known), device=known.device))
            inner.perturb(own, rngs.of(inner.seed_name))
        oracle.forwards += passes_per_call * own.forwards
        oracle.backwards += passes_per_call * own.backwards
        return own.best


@attacks.add("survives")
@final
@dataclass(frozen=True, kw_only=True)
class AfterTransform(ThroughTransform):
    """Attack, then deliver, then score: does the change survive an upload?

    Args:
        delivery: a perturbation, such as ``jpeg``.
        settings: its parameters.
        adaptive: attack through the delivery too (BPDA, and EOT over ``draws``), and send what
            arrives worst of that and of the attack in ignorance of it.
    """

    delivery: str = "jpeg"
    settings: dict[str, Any] = field(default_factory=dict)
    adaptive: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        delivery = load_attack(self.delivery, **self.settings)
        if not isinstance(delivery, Perturbation):
            raise ConfigError(
                f"survives: delivery must be a perturbation, got {self.delivery!r}. Write"
                ' delivery = "jpeg" or "resize".'
            )
        object.__setattr__(self, "settings", plain_numbers(delivery, self.settings))

    @property
    def chain(self) -> Perturbation:
        """The delivery itself."""
        return cast("Perturbation", load_attack(self.delivery, **self.settings))

    def budget(self) -> Budget:
        """Return an empty budget after the delivery; the attack keeps its own before it."""
        return Budget()

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Attack the images of ``oracle`` with ``rngs``, and replace them by what arrives."""
        sent = self.attacked(oracle.detector, oracle, rngs)
        if self.adaptive:
            view = Delivered(oracle.detector, self.chain, self.draws)
            sent = self.attacked(view, oracle, rngs, known=sent, passes_per_call=self.draws)
        arrived = self.chain.apply((sent / MAX_LEVEL).cpu(), rngs.ids, rngs.seed)
        oracle.replace(arrived.to(sent) * MAX_LEVEL)


@attacks.add("eot")
@final
@dataclass(frozen=True, kw_only=True)
class EOT(ThroughTransform):
    """Attack the mean over draws of a stochastic detector. Source: Athalye et al., ICML 2018."""

    draws: DrawCount = 8

    def budget(self) -> Budget:
        """Return the budget of the other attack."""
        return self.inner.budget()

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Attack the mean of the detector of ``oracle`` with ``rngs``, then score once."""
        view = AveragedDetector(oracle.detector, self.draws)
        sent = self.attacked(view, oracle, rngs, passes_per_call=self.draws)
        which = oracle.active()
        oracle.submit(sent[which], which)
