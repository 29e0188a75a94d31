"""What stops a training that has gone wrong, and says so."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import (
    DataError,
    LogitsError,
    TrainingCollapsedError,
    TrainingDivergedError,
)
from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.config import TrainConfig

SETTLED = 200
"""Steps after which batch statistics and a fresh head have settled, so that one answer for all
means collapse.
"""
ONE_SIDED = 0.02
"""Share of the validation images with the rarer answer, below which it counts as one answer for
all.
"""
OVERFIT = 0.25
"""How much more accurate under the attack of its training than under a stronger one: catastrophic
overfitting.
"""
FLOW = 10
"""Steps in which a gradient must have come to a weight."""


def both_classes(**sets: Arrays) -> None:
    """Raise ``DataError`` for images of a single class, or of a class that is neither."""
    for name, data in sets.items():
        found = data.labels.unique().tolist()
        if found != [0, 1]:
            raise DataError(
                f"the {name} images have the labels {found}, and two are wanted: 0 (real) and 1"
                " (AI-generated). Look at the [labels] of the recipe, or at the folders it names."
            )


class GradientMonitor:
    """Remembers the weights that no gradient has come to in the first steps."""

    def __init__(self, part: torch.nn.Module) -> None:
        self._silent = {name: p for name, p in part.named_parameters() if p.requires_grad}
        self._all = len(self._silent)

    def observe(self, detector: Detector, step: int) -> list[str]:
        """Names without a gradient so far. Raises ``LogitsError`` after :data:`FLOW` steps without
        any at all.
        """
        self._silent = {
            name: p for name, p in self._silent.items() if p.grad is None or not bool(p.grad.any())
        }
        if step + 1 == FLOW and len(self._silent) == self._all:
            raise _no_gradient(detector)
        return list(self._silent)


def _no_gradient(detector: Detector) -> LogitsError:
    return LogitsError(
        f"no gradient comes from the loss of {detector.card.name} to its weights. Look for a"
        " detach, a no_grad or an integer in its logits."
    )


def finite(loss: Tensor, detector: Detector, step: int, plan: TrainConfig) -> float:
    """The loss as a number. Raises ``TrainingDivergedError`` if it is none, and ``LogitsError`` if
    it does not hang on the weights.
    """
    if not loss.requires_grad:
        raise _no_gradient(detector)
    value = loss.item()
    if not math.isfinite(value):
        raise TrainingDivergedError(
            f"the loss of {detector.card.name} is {value} at step {step + 1}. The checkpoint of the"
            f" best epoch so far, if there was one, is kept. Lower the rate ({plan.rate:g}):"
            f" --config rate={plan.rate / 3:.1g}."
        )
    return value


class CollapseMonitor:
    """Counts the epochs in a row after which a detector says the same of (nearly) every validation
    image.
    """

    def __init__(self, plan: TrainConfig) -> None:
        self.count, self._plan = 0, plan

    def observe(self, called_fake: float) -> bool:
        """Whether it is so after this epoch, by the share of images it calls AI-generated."""
        one_sided = not ONE_SIDED < called_fake < 1 - ONE_SIDED
        self.count = self.count + 1 if one_sided else 0
        return one_sided

    def check(
        self, detector: Detector, called_fake: float, epoch: int, *, kept: bool, settled: bool
    ) -> None:
        """Raise ``TrainingCollapsedError`` where it has lasted, or where the last epoch has come
        without one to keep.

        Args:
            epoch: counted from 1. kept: some epoch's weights were kept. settled: after
                :data:`SETTLED` steps.
        """
        lasted = settled and self.count >= max(3, self._plan.epochs // 3)
        if lasted or (epoch == self._plan.epochs and not kept):
            raise TrainingCollapsedError(
                f"training {detector.card.name} collapsed: after epoch {epoch} it calls"
                f" {called_fake:.0%} of the validation images AI-generated. Lower the rate"
                f" ({self._plan.rate:g}) or eps, or begin from a fitted detector: --start"
                " CHECKPOINT."
            )


def overfitted(row: Mapping[str, float]) -> str:
    """Why a training by one-step attacks is to stop, by its last row; "" if it may go on.

    Source: Wong et al., Fast is better than free, ICLR 2020 (catastrophic overfitting).
    """
    gap = row["one_step"] - row["score"]
    if gap <= OVERFIT:
        return ""
    return (
        f"catastrophic overfitting: {row['one_step']:.1%} right under the one-step attack of its"
        f" training, {row['score']:.1%} under PGD"
    )
