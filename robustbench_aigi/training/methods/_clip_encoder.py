"""What the methods that fine-tune a CLIP image encoder share."""

from abc import ABC, abstractmethod

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.clip_detector import ClipDetector
from robustbench_aigi.training.history import History
from robustbench_aigi.training.methods.base import TrainingMethod
from robustbench_aigi.training.objectives.adversarial import ramp_for
from robustbench_aigi.training.objectives.clip_encoder import (
    EncoderLoss,
    EncoderObjective,
    require_clip,
)
from robustbench_aigi.training.session import FitGoal, TrainingSession

ENCODER_NUMBERS = {"rate": 3e-4, "weight_decay": 1e-4}
"""Hyper-parameters of the encoder's fit, unless the user sets them."""
MIN_HEAD_EPOCHS = 4
"""Epochs of the head's fit, at least."""


class ClipEncoderTraining(TrainingMethod, ABC):
    """Fine-tune the image encoder against attacks, then fit the head from the start."""

    seen_attacks = ("pgd-linf",)
    default_epochs = 2
    resets_rate = True

    @abstractmethod
    def encoder_loss(self, detector: ClipDetector) -> EncoderLoss:
        """Return the loss on the embeddings of a ``detector``."""

    def check_detector(self, detector: Detector) -> None:
        """Raise ``UserError`` for a ``detector`` without a CLIP encoder."""
        require_clip(detector)

    def fit(self, session: TrainingSession) -> History:
        """Train the encoder, then the head, of a ``session``; returns the head's history."""
        clip = require_clip(session.detector)
        numbers = {name: n for name, n in ENCODER_NUMBERS.items() if name not in session.given}
        config = session.config.model_copy(update=numbers)
        ramp = ramp_for(config, session.images, 0.0)
        objective = EncoderObjective(self.encoder_loss(clip), config, ramp)
        goal = FitGoal(objective=objective, score=objective.score)
        session.fit_part(config, goal, clip.tower, "tower")
        epochs = max(MIN_HEAD_EPOCHS, session.epochs)
        return session.fit(session.config.model_copy(update={"epochs": epochs}), FitGoal())
