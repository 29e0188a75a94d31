"""Adversarial training: what is learnt from images attacked through the detector's own gradients as
it learns.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.attacks import Attack, Perturbation, load_attack
from robustbench_aigi.attacks._engine.oracle import frozen
from robustbench_aigi.detectors import Detector
from robustbench_aigi.imaging.pixels import LEVELS, from_bytes, snap
from robustbench_aigi.io.hashing import rng_for
from robustbench_aigi.training.arrays import Arrays, balanced_accuracy, by_change
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.objectives.base import Loss, TrainingBatch
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation


@dataclass(frozen=True)
class Ramp:
    """Grows linearly from next to nothing to 1 in ``steps`` steps, so that learning starts at
    all.
    """

    steps: int

    def __call__(self, step: int) -> float:
        """The share at training step ``step``."""
        return min(1.0, (step + 1) / max(1, self.steps))


@dataclass(frozen=True)
class Adversarial:
    """An objective on attacked images; a subclass says how it attacks.

    A share of the batch stays clean, which keeps a detector from calling everything one class.
    Clean and attacked images go through together, so that batch norms learn the mixture that they
    will be frozen at. Images that were changed before, those of a `++` set or delivered ones, stay
    as they are.
    """

    plan: TrainConfig
    ramp: Ramp

    def __call__(self, detector: Detector, batch: TrainingBatch) -> Loss:
        """Attack the batch, but for the first images of those that came clean."""
        came_clean = (
            torch.ones(len(batch.labels), dtype=torch.bool)
            if batch.changed is None
            else ~batch.changed
        )
        places = came_clean.nonzero().squeeze(1)
        places = places[int(self.plan.clean_share * len(places)) :]
        images = batch.images.clone()
        if len(places):
            images[places] = self.attacked(detector, batch.only(places))
        return lambda: detector.loss(images, batch.targets)

    def attacked(self, detector: Detector, batch: TrainingBatch) -> Tensor:
        """The batch's images, changed."""
        return inner_maximisation(
            detector,
            batch.images,
            away_from(detector, batch.labels),
            self.draws(batch),
            eps=self.plan.eps * self.ramp(batch.step),
            steps=self.plan.steps,
        )

    def draws(self, batch: TrainingBatch) -> torch.Generator:
        """Random numbers of this step."""
        return rng_for(self.plan.seed, "inner attack", batch.step)


class PGD(Adversarial):
    """L-inf PGD from a random start. Source: Madry et al., ICLR 2018."""


class Fast(Adversarial):
    """One step of 1.25 eps from a random start. Source: Wong et al., Fast is better than free, ICLR
    2020.
    """

    def attacked(self, detector: Detector, batch: TrainingBatch) -> Tensor:
        """The batch's images, one step on."""
        eps = self.plan.eps * self.ramp(batch.step)
        away = away_from(detector, batch.labels)
        return inner_maximisation(
            detector, batch.images, away, self.draws(batch), eps=eps, steps=1, step=1.25 * eps
        )


class Trades(Adversarial):
    """The loss on clean images, and ``beta`` times how far an attack moves the answer from there,
    right or wrong.

    Source: Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML
        2019.
    """

    def __call__(self, detector: Detector, batch: TrainingBatch) -> Loss:
        """Attack the batch."""
        with frozen(detector), torch.no_grad():
            clean = detector.logits(batch.images)
        attacked = inner_maximisation(
            detector,
            batch.images,
            lambda images: divergence(clean, detector.logits(images)),
            self.draws(batch),
            eps=self.plan.eps * self.ramp(batch.step),
            steps=self.plan.steps,
            start=0.1,  # at the clean image itself there is no slope
        )

        def loss() -> Tensor:
            moved = divergence(detector.logits(batch.images), detector.logits(attacked)).mean()
            return detector.loss(batch.images, batch.targets) + self.plan.beta * moved

        return loss


class Mixed(Adversarial):
    """A batch meets one of several threats, drawn anew each step."""

    def attacked(self, detector: Detector, batch: TrainingBatch) -> Tensor:
        """The batch's images under the threat that was drawn."""
        rng, share = self.draws(batch), self.ramp(batch.step)
        drawn = THREATS[int(torch.randint(len(THREATS), (), generator=rng))]
        away, steps = away_from(detector, batch.labels), self.plan.steps
        if drawn == "pgd-linf":
            return inner_maximisation(
                detector, batch.images, away, rng, eps=self.plan.eps * share, steps=steps
            )
        if drawn == "pgd-l2":
            eps = L2_OF_LINF * self.plan.eps * share
            return inner_maximisation(
                detector, batch.images, away, rng, eps=eps, steps=steps, norm="l2"
            )
        noise = 2 * self.plan.eps * share
        numbers: dict[str, Any] = {
            "dct-noise": {"eps": noise if noise >= 1 else 0},  # less would be lost in rounding
            "jpeg": {"quality": int(torch.randint(30, 91, (), generator=rng))},
            "pgd-l0": {"pixels": 1, "steps": 1 + steps},
        }
        attack, images = load_attack(drawn, **numbers[drawn]), snap(batch.images).cpu()
        ids = [f"{batch.step}-{place}" for place in range(len(images))]
        if isinstance(attack, Perturbation):
            return attack.apply(images, ids, self.plan.seed).to(batch.images)
        found = attack(
            detector, images, batch.labels.cpu(), ids=ids, seed=self.plan.seed, full=True
        )
        return found.images.to(batch.images)


THREATS = ("pgd-linf", "pgd-l2", "dct-noise", "jpeg", "pgd-l0")
"""What :class:`Mixed` draws from; ``pgd-l0`` with one pixel stands for one-pixel, whose search is
far too slow.
"""
L2_OF_LINF = 0.125
"""Radius of the L2 ball in the [0, 1]-pixel norm, for each grey level of ``eps``: 8 levels go with
1.0.
"""


def away_from(detector: Detector, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """The margin ``(N,)`` by which a detector is wrong on images: a saturated sigmoid cannot hide
    its slope.
    """
    sides = 1 - 2 * labels
    return lambda images: detector.logits(images) * sides


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """Kullback-Leibler divergence ``(N,)``, in nats, of the answer with one logit from the answer
    with another.
    """
    sure = clean.sigmoid()
    unlike = F.binary_cross_entropy_with_logits(attacked, sure, reduction="none")
    own: Tensor = F.binary_cross_entropy_with_logits(clean, sure, reduction="none")
    return unlike - own


def robust_accuracy(detector: Detector, data: Arrays, attack: Attack, seed: int = 0) -> float:
    """Balanced accuracy under an attack, to pick the epoch by: mean of the accuracies on reals and
    on fakes.
    """
    right: list[float] = []
    for label in (0, 1):
        images, labels = data.images[data.labels == label], data.labels[data.labels == label]
        fooled = 0
        for start in range(0, len(labels), 250):
            part = slice(start, start + 250)
            ids = [f"{label}-{start + i}" for i in range(len(labels[part]))]
            fooled += int(
                attack(
                    detector, from_bytes(images[part]), labels[part], ids=ids, seed=seed
                ).fooled.sum()
            )
        right.append(1 - fooled / len(labels))
    return sum(right) / 2


@dataclass(frozen=True)
class Robustness:
    """The figures of adversarial training's epochs: balanced accuracy clean, and under attacks
    whose mean is the score.

    Of images that were changed before, those of a `++` set, the score has the accuracy as they are
    beside the attacks'.

    Attributes:
        attacks: column to attack. beside: columns that are not part of the score.
    """

    attacks: Mapping[str, Attack]
    beside: Mapping[str, Attack] = field(default_factory=dict)

    def __call__(self, detector: Detector, data: Arrays) -> dict[str, float]:
        """Measure them."""
        clean, changed = by_change(data)
        under = {
            name: robust_accuracy(detector, clean, attack) for name, attack in self.attacks.items()
        }
        under |= {} if changed is None else {"changed": balanced_accuracy(detector, changed)}
        others = {
            name: robust_accuracy(detector, clean, attack) for name, attack in self.beside.items()
        }
        score = sum(under.values()) / len(under)
        return {"score": score, "clean": balanced_accuracy(detector, clean), **under, **others}


def robustness(plan: TrainConfig, method: str) -> Robustness:
    """What picks the epoch of a method."""
    eps = max(1, round(plan.eps))
    linf = load_attack("pgd-linf", eps=eps, step=max(1, round(eps / 4)), steps=7)
    if method == "fast":
        one = load_attack("pgd-linf", eps=eps, step=min(round(1.25 * eps), LEVELS), steps=1)
        return Robustness({"pgd_linf": linf}, {"one_step": one})
    if method == "mixed":
        l2 = L2_OF_LINF * eps
        return Robustness(
            {
                "pgd_linf": linf,
                "pgd_l2": load_attack("pgd-l2", eps=l2, step=l2 / 4, steps=7),
                "dct_noise": load_attack("dct-noise", eps=2 * eps),
                "jpeg": load_attack("jpeg", quality=50),
            }
        )
    return Robustness({"pgd_linf": linf})
