"""TRADES: adversarial training that trades accuracy for stable logits."""

from typing import final

import torch
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.freezing import frozen
from robustbench_aigi.training.methods._adversarial import AdversarialTraining
from robustbench_aigi.training.methods.base import methods
from robustbench_aigi.training.objectives.adversarial import AdversarialObjective
from robustbench_aigi.training.objectives.base import Loss, TrainingBatch
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation

START_SHARE = 0.1
"""Random start of the attack, as a share of eps: at the clean image the gradient is zero."""


class TradesObjective(AdversarialObjective):
    """The loss on clean images, plus ``beta`` times how far an attack moves the prediction.

    Source: Zhang et al., Theoretically Principled Trade-off between Robustness and Accuracy, ICML
        2019.
    """

    def __call__(self, detector: Detector, batch: TrainingBatch) -> Loss:
        """Attack all images of a ``batch``, and return the loss of the ``detector``."""
        with frozen(detector), torch.no_grad():
            clean = detector.logits(batch.images)
        attacked = inner_maximisation(
            detector,
            batch.images,
            lambda images: divergence(clean, detector.logits(images)),
            self.draws(batch),
            eps=self.eps_at(batch),
            steps=self.config.steps,
            start=START_SHARE,
        )

        def loss() -> Tensor:
            moved = divergence(detector.logits(batch.images), detector.logits(attacked)).mean()
            return detector.loss(batch.images, batch.targets) + self.config.beta * moved

        return loss


@methods.add("trades")
@final
class TradesTraining(AdversarialTraining):
    """Train by TRADES. Source: Zhang et al., ICML 2019."""

    summary = "predictions kept where PGD would move them"
    prefix = "trades-"
    objective = TradesObjective


def divergence(clean: Tensor, attacked: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence ``(N,)``, in nats, between two predictions.

    Args:
        clean: logits ``(N,)`` of the reference.
        attacked: logits ``(N,)``.

    Example:
        >>> divergence(torch.tensor([1.0]), torch.tensor([1.0]))
        tensor([0.])
    """
    probability = clean.sigmoid()
    cross = F.binary_cross_entropy_with_logits(attacked, probability, reduction="none")
    entropy: Tensor = F.binary_cross_entropy_with_logits(clean, probability, reduction="none")
    return cross - entropy
