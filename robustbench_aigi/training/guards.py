"""Checks that stop a training which has gone wrong, and report why."""

import math

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import (
    DataError,
    LogitsError,
    TrainingCollapsedError,
    TrainingDivergedError,
)
from robustbench_aigi.training.arrays import TrainingImages
from robustbench_aigi.training.config import TrainConfig

SETTLED_STEPS = 200
"""Steps after which batch statistics and a fresh head have settled."""
MIN_CLASS_SHARE = 0.02
"""Share of validation images in the rarer predicted class, below which predictions are constant."""
GRADIENT_STEPS = 10
"""Steps in which every trained weight should have received a gradient."""


def check_both_classes(**sets: TrainingImages) -> None:
    """Raise ``DataError`` unless the labels of each set are 0 and 1, and both occur."""
    for name, data in sets.items():
        found = data.labels.unique().tolist()
        if found != [0, 1]:
            raise DataError(
                f"the {name} images have the labels {found}, expected both 0 (real) and 1"
                " (AI-generated). Check the [labels] of the recipe, or the folders it names."
            )


class GradientMonitor:
    """Tracks the weights that have not received a gradient yet.

    Args:
        part: the module in training.
    """

    def __init__(self, part: torch.nn.Module) -> None:
        self._waiting = {name: p for name, p in part.named_parameters() if p.requires_grad}
        self._count = len(self._waiting)

    def observe(self, detector: Detector, step: int) -> list[str]:
        """Return the names of the weights without a gradient so far.

        Args:
            detector: owner of the weights, for the message.
            step: counted from 0.

        Raises:
            LogitsError: no weight has received one in :data:`GRADIENT_STEPS` steps.
        """
        self._waiting = {
            name: p for name, p in self._waiting.items() if p.grad is None or not bool(p.grad.any())
        }
        if step + 1 == GRADIENT_STEPS and len(self._waiting) == self._count:
            raise _no_gradient(detector)
        return list(self._waiting)


def _no_gradient(detector: Detector) -> LogitsError:
    return LogitsError(
        f"no gradient of the loss of {detector.card.name} reaches its weights. Look for a"
        " detach, a no_grad or an integer in its logits."
    )


def finite_loss(loss: Tensor, detector: Detector, step: int, config: TrainConfig) -> float:
    """Return the loss as a Python number.

    Args:
        loss: scalar tensor.
        detector: in training, for the message.
        step: counted from 0.
        config: its rate is in the message.

    Raises:
        TrainingDivergedError: the loss is NaN or infinite.
        LogitsError: the loss does not depend on the weights.
    """
    if not loss.requires_grad:
        raise _no_gradient(detector)
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingDivergedError(
            f"the loss of {detector.card.name} is {value} at step {step + 1}. The checkpoint of the"
            f" best epoch so far, if there is one, is kept. Lower the rate ({config.rate:g}):"
            f" --config rate={config.rate / 3:.1g}."
        )
    return value


class CollapseMonitor:
    """Counts the epochs in a row after which predictions are constant.

    Args:
        config: of the training.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.count = 0
        self._config = config

    def observe(self, called_fake: float) -> bool:
        """Return whether predictions are constant after this epoch, and count it.

        Args:
            called_fake: share of the validation images that are called AI-generated.
        """
        is_constant = not MIN_CLASS_SHARE < called_fake < 1 - MIN_CLASS_SHARE
        self.count = self.count + 1 if is_constant else 0
        return is_constant

    def check(
        self, detector: Detector, called_fake: float, epoch: int, *, has_best: bool, settled: bool
    ) -> None:
        """Raise an error if predictions stay constant, or if no epoch of the training was usable.

        Args:
            detector: in training, for the message.
            called_fake: share of the validation images that are called AI-generated.
            epoch: counted from 1.
            has_best: whether some epoch's weights were good enough to keep.
            settled: whether :data:`SETTLED_STEPS` have been taken.

        Raises:
            TrainingCollapsedError: see above.
        """
        epochs = self._config.epochs
        has_lasted = settled and self.count >= max(3, epochs // 3)
        if has_lasted or (epoch == epochs and not has_best):
            raise TrainingCollapsedError(
                f"training {detector.card.name} collapsed: after epoch {epoch} it calls"
                f" {called_fake:.0%} of the validation images AI-generated. Lower the rate"
                f" ({self._config.rate:g}) or eps, or start from a trained detector: --start"
                " CHECKPOINT."
            )
