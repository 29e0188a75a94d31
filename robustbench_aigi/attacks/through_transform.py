"""Attacks on what lies behind the pixels: a delivery that re-encodes them, chance in a detector."""

from dataclasses import dataclass, field
from typing import Any, cast, final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.oracle import Oracle
from robustbench_aigi.attacks.base import Attack, Budget, Perturbation, attacks
from robustbench_aigi.attacks.loading import load_attack, plain_numbers
from robustbench_aigi.config.units import DrawCount
from robustbench_aigi.detectors import Card, Detector, straight_through
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.imaging.pixels import LEVELS, snap
from robustbench_aigi.io.hashing import Draws


@final
class Delivered(Detector):
    """A detector at the end of a delivery, differentiable by BPDA: forwards the real thing,
    backwards the identity.

    A delivery with chance in it is drawn ``draws`` times, the same draws for every image and every
    call, and the logits are averaged (EOT), so the detector stays deterministic. Source: Athalye et
    al., ICML 2018.
    """

    default_card = Card(name="delivered", source="Athalye et al., ICML 2018", gradient="bpda")
    restorable = False

    def __init__(self, detector: Detector, delivery: Perturbation, draws: int = 1) -> None:
        super().__init__()
        self.detector, self.delivery, self.draws = detector, delivery, draws
        self.card = detector.card

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1] as they arrive."""
        scores = [self.detector.logits(self._arrived(images, draw)) for draw in range(self.draws)]
        return torch.stack(scores).mean(dim=0)

    def _arrived(self, images: Tensor, draw: int) -> Tensor:
        ids = [f"eot-{draw}"] * len(images)
        return straight_through(lambda sent: self.delivery.apply(snap(sent), ids), images)


@final
class AveragedDetector(Detector):
    """A stochastic detector, its logits averaged over ``draws`` fixed draws of torch's random
    numbers (EOT).
    """

    default_card = Card(name="averaged", source="Athalye et al., ICML 2018", gradient="eot")
    restorable = False

    def __init__(self, detector: Detector, draws: int) -> None:
        super().__init__()
        self.detector, self.draws = detector, draws
        self.card = detector.card

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]; the caller's random numbers are left alone."""
        scores = []
        for draw in range(self.draws):
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(draw)
                scores.append(self.detector.logits(images))
        return torch.stack(scores).mean(dim=0)


@dataclass(frozen=True, kw_only=True)
class ThroughTransform(Attack):
    """Another attack, run at full strength on a view of the detector.

    Args:
        attack: its name. numbers: its own numbers, such as ``{ eps = 8 }``.
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
        """The attack itself."""
        return load_attack(self.attack, **self.numbers)

    def attacked(
        self, view: Detector, oracle: Oracle, rngs: Draws, known: Tensor | None = None
    ) -> Tensor:
        """The images that are worst for the view, in grey levels; its passes are charged, each draw
        as one.

        Args:
            known: candidates to begin with, ``(N, 3, H, W)`` in grey levels, inside the attack's
                budget.
        """
        inner, draws = (
            self.inner,
            view.draws if isinstance(view, Delivered | AveragedDetector) else 1,
        )
        with inner.oracle(view, oracle.images, oracle.labels, full=True) as own:
            if known is not None:
                own.submit(known, torch.arange(len(known)))
            inner.perturb(own, rngs.of(inner.name))
        oracle.forwards += draws * own.forwards
        oracle.backwards += draws * own.backwards
        return own.best


@attacks.add("survives")
@final
@dataclass(frozen=True, kw_only=True)
class AfterTransform(ThroughTransform):
    """Attack, then deliver, then score: does the change survive an upload?

    Args:
        delivery: a perturbation without a model, such as ``jpeg``. settings: its numbers.
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
                f"survives wants a delivery without a model, got {self.delivery!r}. Write jpeg or"
                " resize."
            )
        object.__setattr__(self, "settings", plain_numbers(delivery, self.settings))

    @property
    def chain(self) -> Perturbation:
        """The delivery itself."""
        return cast("Perturbation", load_attack(self.delivery, **self.settings))

    def budget(self) -> Budget:
        """None after the delivery; the attack keeps its own before it."""
        return Budget()

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """What arrives replaces the clean image, whether it fools or not."""
        sent = self.attacked(oracle.detector, oracle, rngs)
        if self.adaptive:
            sent = self.attacked(
                Delivered(oracle.detector, self.chain, self.draws), oracle, rngs, known=sent
            )
        oracle.replace(self.chain.apply(sent / LEVELS, rngs.ids, rngs.seed) * LEVELS)


@attacks.add("eot")
@final
@dataclass(frozen=True, kw_only=True)
class EOT(ThroughTransform):
    """Attack the mean over draws of a stochastic detector. Source: Athalye et al., ICML 2018."""

    draws: DrawCount = 8

    def budget(self) -> Budget:
        """The attack's own."""
        return self.inner.budget()

    def perturb(self, oracle: Oracle, rngs: Draws) -> None:
        """Attack the mean, then score once."""
        sent = self.attacked(AveragedDetector(oracle.detector, self.draws), oracle, rngs)
        which = oracle.active()
        oracle.submit(sent[which], which)
