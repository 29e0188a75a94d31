"""Fast adversarial training, by one-step attacks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import final

from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.detectors import Detector
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.methods._adversarial import AdversarialTraining
from robustbench_aigi.training.methods.base import methods
from robustbench_aigi.training.objectives.adversarial import AdversarialObjective, wrong_margin
from robustbench_aigi.training.objectives.base import TrainingBatch
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation
from robustbench_aigi.training.objectives.robustness import (
    RobustnessScore,
    linf_attack,
    whole_eps,
)
from robustbench_aigi.training.session import FitGoal, TrainingSession

STEP_SHARE = 1.25
"""Length of the one step, in units of eps."""
MAX_ROBUSTNESS_GAP = 0.25
"""Accuracy under the one-step attack minus that under PGD, above which training has overfitted."""


class FastObjective(AdversarialObjective):
    """One step of 1.25 eps from a random start.

    Source: Wong et al., Fast is better than free, ICLR 2020.
    """

    def attacked(self, detector: Detector, batch: TrainingBatch) -> Tensor:
        """Return the images of a ``batch`` after one step through the ``detector``."""
        eps = self.eps_at(batch)
        return inner_maximisation(
            detector,
            batch.images,
            wrong_margin(detector, batch.labels),
            self.draws(batch),
            eps=eps,
            steps=1,
            step=STEP_SHARE * eps,
        )


@methods.add("fast")
@final
class FastTraining(AdversarialTraining):
    """Train on one-step attacks, until they overfit. Source: Wong et al., ICLR 2020."""

    summary = "one-step attacks on the detector itself"
    prefix = "fast-"
    seen_attacks = ("fgsm",)
    objective = FastObjective

    def score(self, config: TrainConfig) -> RobustnessScore:
        """Return the accuracy under PGD; that under one step is reported beside it.

        Args:
            config: of the training.
        """
        eps = whole_eps(config)
        length = min(round(STEP_SHARE * eps), MAX_LEVEL)
        one_step = load_attack("pgd-linf", eps=eps, step=length, steps=1)
        return RobustnessScore({"pgd_linf": linf_attack(config)}, {"one_step": one_step})

    def goal(self, session: TrainingSession) -> FitGoal:
        """Return the goal of a ``session``, which ends when the training overfits."""
        return replace(super().goal(session), stop_reason=overfitting_reason)


def overfitting_reason(row: Mapping[str, float]) -> str | None:
    """Return why one-step training has to stop after an epoch; None if it has not to.

    Source: Wong et al., Fast is better than free, ICLR 2020 (catastrophic overfitting).

    Args:
        row: of the epoch, with "score" and "one_step".

    Example:
        >>> overfitting_reason({"score": 0.5, "one_step": 0.7}) is None
        True
    """
    if row["one_step"] - row["score"] <= MAX_ROBUSTNESS_GAP:
        return None
    return (
        f"catastrophic overfitting: accuracy of {row['one_step']:.1%} under the one-step attack of"
        f" the training, {row['score']:.1%} under PGD"
    )
