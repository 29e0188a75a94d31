"""Adversarial objectives: learn from images attacked through the detector's own gradients."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.io.hashing import rng_for
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.objectives.base import Loss, TrainingBatch
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation


@dataclass(frozen=True)
class Ramp:
    """Grows linearly from nearly 0 to 1, so that learning starts at all.

    Attributes:
        steps: training steps until it is 1.

    Example:
        >>> [Ramp(4)(step) for step in (0, 1, 3, 9)]
        [0.25, 0.5, 1.0, 1.0]
    """

    steps: int

    def __call__(self, step: int) -> float:
        """Return the share at training step ``step``, counted from 0."""
        return min(1.0, (step + 1) / max(1, self.steps))


def ramp_for(config: TrainConfig, images: int, default_share: float) -> Ramp:
    """Return how eps grows in a training.

    Args:
        config: of the training.
        images: training images.
        default_share: share of the steps in which eps grows, where the configuration has none.
    """
    share = default_share if config.ramp is None else config.ramp
    steps_per_epoch = -(-images // config.batch)
    return Ramp(int(steps_per_epoch * config.epochs * share))


@dataclass(frozen=True)
class AdversarialObjective:
    """The detector's loss on a mixture of clean and attacked images; a subclass chooses the attack.

    A share of the batch stays clean, which keeps a detector from calling everything one class.
    Clean and attacked images pass together, so that batch norms learn the mixture that they will
    be frozen at. Images that were changed before, by a `++` set or by everyday transforms, are
    not attacked.

    Attributes:
        config: of the training.
        ramp: growth of eps.
    """

    config: TrainConfig
    ramp: Ramp

    def __call__(self, detector: Detector, batch: TrainingBatch) -> Loss:
        """Attack all but the first clean images of a batch, and return the loss.

        Args:
            detector: in training.
            batch: its images stay as they are; a copy is attacked.
        """
        places = self._places_to_attack(batch)
        images = batch.images.clone()
        if len(places):
            images[places] = self.attacked(detector, batch.only(places))
        return lambda: detector.loss(images, batch.targets)

    def _places_to_attack(self, batch: TrainingBatch) -> Tensor:
        is_clean = torch.ones(len(batch.labels), dtype=torch.bool)
        if batch.changed is not None:
            is_clean = ~batch.changed
        places = is_clean.nonzero().squeeze(1)
        return places[int(self.config.clean_share * len(places)) :]

    def attacked(self, detector: Detector, batch: TrainingBatch) -> Tensor:
        """Return the images of a ``batch``, attacked through the ``detector``: by L-inf PGD."""
        return inner_maximisation(
            detector,
            batch.images,
            wrong_margin(detector, batch.labels),
            self.draws(batch),
            eps=self.eps_at(batch),
            steps=self.config.steps,
        )

    def eps_at(self, batch: TrainingBatch) -> float:
        """Return eps at the step of a ``batch``, in grey levels."""
        return self.config.eps * self.ramp(batch.step)

    def draws(self, batch: TrainingBatch) -> torch.Generator:
        """Return the random generator of the step of a ``batch``."""
        return rng_for(self.config.seed, "inner attack", batch.step)


def wrong_margin(detector: Detector, labels: Tensor) -> Callable[[Tensor], Tensor]:
    """Return the function from images to how far the logit is on the wrong side, ``(N,)``.

    A saturated sigmoid would hide its gradient; the logit does not.

    Args:
        detector: its logits are used.
        labels: int64 ``(N,)``, 1 = AI-generated.
    """
    signs = 1 - 2 * labels
    return lambda images: detector.logits(images) * signs
