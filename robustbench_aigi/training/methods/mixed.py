"""Adversarial training against several threats, one drawn per batch."""

from typing import Any, final

import torch
from torch import Tensor

from robustbench_aigi.attacks import Perturbation, load_attack
from robustbench_aigi.detectors import Detector
from robustbench_aigi.imaging.pixels import snap
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.methods._adversarial import AdversarialTraining
from robustbench_aigi.training.methods.base import methods
from robustbench_aigi.training.objectives.adversarial import AdversarialObjective, wrong_margin
from robustbench_aigi.training.objectives.base import TrainingBatch
from robustbench_aigi.training.objectives.pgd_inner import inner_maximisation
from robustbench_aigi.training.objectives.robustness import (
    SCORE_STEPS,
    RobustnessScore,
    linf_attack,
    whole_eps,
)

THREAT_NAMES = ("pgd-linf", "pgd-l2", "dct-noise", "jpeg", "pgd-l0")
"""Threats to draw from; ``pgd-l0`` on one pixel stands for one-pixel, whose search is too slow."""
L2_PER_LEVEL = 0.125
"""Radius of the L2 ball, in the [0, 1]-pixel norm, per grey level of eps: 1.0 for 8 levels."""
JPEG_RANGE = (30, 90)
"""Lowest and highest JPEG quality."""


class MixedObjective(AdversarialObjective):
    """Each batch meets one of :data:`THREAT_NAMES`, drawn at random."""

    def attacked(self, detector: Detector, batch: TrainingBatch) -> Tensor:
        """Return the images of a ``batch`` under a random threat to the ``detector``."""
        rng = self.draws(batch)
        threat = THREAT_NAMES[int(torch.randint(len(THREAT_NAMES), (), generator=rng))]
        if threat in ("pgd-linf", "pgd-l2"):
            return self._by_gradient(threat, detector, batch, rng)
        return self._by_attack(threat, detector, batch, rng)

    def _by_gradient(
        self, threat: str, detector: Detector, batch: TrainingBatch, rng: torch.Generator
    ) -> Tensor:
        is_l2 = threat == "pgd-l2"
        # in this order, so that rounding is that of earlier versions
        scale = L2_PER_LEVEL * self.config.eps if is_l2 else self.config.eps
        return inner_maximisation(
            detector,
            batch.images,
            wrong_margin(detector, batch.labels),
            rng,
            eps=scale * self.ramp(batch.step),
            steps=self.config.steps,
            norm="l2" if is_l2 else "linf",
        )

    def _by_attack(
        self, threat: str, detector: Detector, batch: TrainingBatch, rng: torch.Generator
    ) -> Tensor:
        noise = 2 * self.config.eps * self.ramp(batch.step)
        lowest, highest = JPEG_RANGE
        numbers: dict[str, Any] = {
            "dct-noise": {"eps": noise if noise >= 1 else 0},  # less would be lost in rounding
            "jpeg": {"quality": int(torch.randint(lowest, highest + 1, (), generator=rng))},
            "pgd-l0": {"pixels": 1, "steps": 1 + self.config.steps},
        }
        attack = load_attack(threat, **numbers[threat])
        images = snap(batch.images).cpu()
        ids = [f"{batch.step}-{place}" for place in range(len(images))]
        seed = self.config.seed
        if isinstance(attack, Perturbation):
            return attack.apply(images, ids, seed).to(batch.images)
        result = attack(detector, images, batch.labels.cpu(), ids=ids, seed=seed, full=True)
        return result.images.to(batch.images)


@methods.add("mixed")
@final
class MixedTraining(AdversarialTraining):
    """Train against several threats, and pick the epoch by their mean."""

    summary = "a threat drawn for each batch"
    prefix = "mixed-"
    seen_attacks = THREAT_NAMES
    objective = MixedObjective

    def score(self, config: TrainConfig) -> RobustnessScore:
        """Return the mean accuracy under four threats.

        Args:
            config: of the training.
        """
        eps = whole_eps(config)
        l2 = L2_PER_LEVEL * eps
        return RobustnessScore(
            {
                "pgd_linf": linf_attack(config),
                "pgd_l2": load_attack("pgd-l2", eps=l2, step=l2 / 4, steps=SCORE_STEPS),
                "dct_noise": load_attack("dct-noise", eps=2 * eps),
                "jpeg": load_attack("jpeg", quality=50),
            }
        )
