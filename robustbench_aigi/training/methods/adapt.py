"""Adaptation to a new generator, with replay of what the detector knows."""

from collections.abc import Mapping
from typing import Any, final

from robustbench_aigi.training.history import clean_score
from robustbench_aigi.training.methods.base import TrainingMethod, clean_objective, methods
from robustbench_aigi.training.replay import ReplayScore
from robustbench_aigi.training.session import FitGoal, TrainingSession

RATE_SHARE = 0.2
"""Share of a fresh detector's rate. This and the preset below: the ConvNeXtV2 detector's card."""


@methods.add("adapt")
@final
class AdaptTraining(TrainingMethod):
    """Train on a new generator's images, and replay some of the old ones."""

    summary = "a new generator's images, with one replayed image for every eight"
    prefix = "adapted-"
    default_epochs = 2
    needs_replay = True

    def preset(self, base_rate: float) -> Mapping[str, Any]:
        """Return a low rate, a short warm-up and label smoothing.

        Args:
            base_rate: peak rate of the detector from fresh weights.
        """
        return {"rate": RATE_SHARE * base_rate, "smoothing": 0.05, "warmup": 0.07}

    def goal(self, session: TrainingSession) -> FitGoal:
        """Return the plain objective, scored on new and old images of a ``session``."""
        old = session.replay_validation
        return FitGoal(
            objective=clean_objective(session.config),
            score=clean_score if old is None else ReplayScore(old),
        )
