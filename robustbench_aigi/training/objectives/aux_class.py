"""Auxiliary classification: a second head, dropped after training, names what an image shows."""

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import UserError
from robustbench_aigi.training.objectives.base import Loss, TrainingBatch

AUX_HEAD = "second_head"
"""Attribute of the detector that holds the second head."""


def add_aux_head(detector: Detector, categories: Tensor | None) -> None:
    """Add a second head to a detector, on the features that its own head gets.

    Args:
        detector: changed in place; its logits stay the same.
        categories: int64 ``(N,)``, from 0, of the training images; None if they are unknown.

    Raises:
        UserError: the detector trains only a part of itself or does not end in a linear layer, or
            fewer than two categories are known.
    """
    kinds = 0 if categories is None else int(categories.max()) + 1
    if kinds < 2:
        raise UserError(
            "aux_class_weight is for images of several categories, and the training images have"
            f" {kinds}. Leave aux_class_weight out."
        )
    detector.add_module(AUX_HEAD, nn.Linear(_own_head(detector).in_features, kinds))


def remove_aux_head(detector: Detector) -> Detector:
    """Remove the second head in place, if there is one, and return the detector."""
    if hasattr(detector, AUX_HEAD):
        delattr(detector, AUX_HEAD)
    return detector


class AuxClassObjective:
    """The detector's own loss, plus the weighted cross-entropy of the second head.

    Args:
        weight: of the cross-entropy.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def __call__(self, detector: Detector, batch: TrainingBatch) -> Loss:
        """Return the loss as a function of the weights.

        Args:
            detector: with a second head.
            batch: with known categories.
        """

        def loss() -> Tensor:
            features: list[Tensor] = []

            def record(_: nn.Module, inputs: Any) -> None:
                features.append(inputs[0])

            hook = _own_head(detector).register_forward_pre_hook(record)
            try:
                own = detector.loss(batch.images, batch.targets)
            finally:
                hook.remove()
            logits = detector.get_submodule(AUX_HEAD)(features[-1])
            return own + self._weight * F.cross_entropy(logits, batch.categories)

        return loss


def _own_head(detector: Detector) -> nn.Linear:
    """Return the last linear layer, which must have the detector's single output."""
    layers = [
        part
        for name, part in detector.named_modules()
        if isinstance(part, nn.Linear) and name != AUX_HEAD
    ]
    if detector.parts_to_train() is not detector or not layers or layers[-1].out_features != 1:
        raise UserError(
            "aux_class_weight is for detectors that train as a whole and end in a linear layer,"
            f" and {detector.card.name} does not. Leave aux_class_weight out."
        )
    return layers[-1]
