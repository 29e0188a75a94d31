"""What the adversarial methods share."""

from typing import ClassVar

from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.methods.base import TrainingMethod
from robustbench_aigi.training.objectives.adversarial import AdversarialObjective, ramp_for
from robustbench_aigi.training.objectives.robustness import RobustnessScore, linf_attack
from robustbench_aigi.training.session import FitGoal, TrainingSession

LARGE_BATCH = 128
"""Images per batch, from which eps grows in half of the training instead of all of it."""


class AdversarialTraining(TrainingMethod):
    """Train on images that are attacked in every step; a subclass names the objective.

    Attributes:
        objective: class of the objective.
    """

    seen_attacks: ClassVar[tuple[str, ...]] = ("pgd-linf",)
    default_epochs = 2
    is_adversarial = True
    objective: ClassVar[type[AdversarialObjective]]

    def score(self, config: TrainConfig) -> RobustnessScore:
        """Return what picks the best epoch of a training with this ``config``."""
        return RobustnessScore({"pgd_linf": linf_attack(config)})

    def goal(self, session: TrainingSession) -> FitGoal:
        """Return the objective and the score of a ``session``."""
        config = session.config
        # with few images, eps at its full size for long leads to constant predictions
        default_share = 1.0 if config.batch < LARGE_BATCH else 0.5
        ramp = ramp_for(config, session.images, default_share)
        return FitGoal(objective=self.objective(config, ramp), score=self.score(config))
