"""Contract of a training method, and the registry of all of them."""

from collections.abc import Mapping
from typing import Any, ClassVar

from robustbench_aigi.detectors import Detector
from robustbench_aigi.registry import Registry
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.history import History
from robustbench_aigi.training.objectives.aux_class import AuxClassObjective
from robustbench_aigi.training.objectives.base import Objective, own_loss
from robustbench_aigi.training.session import FitGoal, TrainingSession


class TrainingMethod:
    """A way to train a detector: plain training on images as they are.

    A subclass overrides :meth:`goal`, or :meth:`fit` where one fit is not enough.

    Attributes:
        summary: what the detector learns from, for ``robustbench-aigi list methods``.
        prefix: beginning of the trained detector's name.
        seen_attacks: registered attacks that the training shows, for the detector's card.
        default_epochs: of a training for which the plan and the user give none.
        is_adversarial: attacks the whole detector in every step, which wants larger batches.
        uses_built_set: wants the images of a `++` set.
        needs_replay: learns new images and replays some that the detector was trained on before.
        takes_aux_class: can train a second head on what images show.
        takes_calibration: is content with a detector that has no weights to train, only
            :meth:`~robustbench_aigi.detectors.Detector.prepare`.
        resets_rate: starts at the full rate, even from trained weights.
    """

    summary: ClassVar[str]
    prefix: ClassVar[str] = ""
    seen_attacks: ClassVar[tuple[str, ...]] = ()
    default_epochs: ClassVar[int] = 5
    is_adversarial: ClassVar[bool] = False
    uses_built_set: ClassVar[bool] = False
    needs_replay: ClassVar[bool] = False
    takes_aux_class: ClassVar[bool] = False
    takes_calibration: ClassVar[bool] = False
    resets_rate: ClassVar[bool] = False

    def check_detector(self, detector: Detector) -> None:
        """Raise ``UserError`` for a ``detector`` that this method cannot train."""

    def preset(self, base_rate: float) -> Mapping[str, Any]:
        """Return the hyper-parameters that this method sets differently from others.

        Args:
            base_rate: peak rate of the detector from fresh weights.
        """
        return {}

    def goal(self, session: TrainingSession) -> FitGoal:
        """Return what the fit of a ``session`` lowers, and how it is judged."""
        return FitGoal(objective=clean_objective(session.config))

    def fit(self, session: TrainingSession) -> History:
        """Train the detector of a ``session``."""
        return session.fit(session.config, self.goal(session))


def clean_objective(config: TrainConfig) -> Objective:
    """Return the objective on images as they are, with a second head where ``config`` has one."""
    if config.aux_class_weight:
        return AuxClassObjective(config.aux_class_weight)
    return own_loss


methods: Registry[TrainingMethod] = Registry("training method", __package__)
