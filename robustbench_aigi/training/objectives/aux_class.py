"""A second task beside the verdict: to tell what an image shows. What it teaches stays; its head
does not.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import UserError
from robustbench_aigi.training.objectives.base import Loss, TrainingBatch

SECOND = "second_head"


def add_second_head(detector: Detector, categories: Tensor | None) -> None:
    """Give a detector a head that names categories, on what its own head is given. It adds nothing
    to its logits.

    Args:
        categories: int64 ``(N,)``, from 0, of the training images; None if they are not told.

    Raises:
        UserError: a detector that trains only a part of itself or does not end in a linear layer,
            or images that all show the same, as far as is known.
    """
    kinds = 0 if categories is None else int(categories.max()) + 1
    if kinds < 2:
        raise UserError(
            f"category is for images of several categories, and these have {kinds}. Leave it out."
        )
    detector.add_module(SECOND, nn.Linear(_own_head(detector).in_features, kinds))


def without_second_head(detector: Detector) -> Detector:
    """Take the second head away, in place, if there is one."""
    if hasattr(detector, SECOND):
        delattr(detector, SECOND)
    return detector


class Category:
    """An objective: the detector's own loss, and ``weight`` times the cross-entropy of what images
    show.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight

    def __call__(self, detector: Detector, batch: TrainingBatch) -> Loss:
        """The loss, as a function of the weights."""

        def loss() -> Tensor:
            features: list[Tensor] = []
            hook = _own_head(detector).register_forward_pre_hook(
                lambda _, given: features.append(given[0])
            )
            try:
                own = detector.loss(batch.images, batch.targets)
            finally:
                hook.remove()
            told = detector.get_submodule(SECOND)(features[-1])
            return own + self._weight * F.cross_entropy(told, batch.categories)

        return loss


def _own_head(detector: Detector) -> nn.Linear:
    """The last linear layer, which has the one output of a verdict."""
    layers = [
        part
        for name, part in detector.named_modules()
        if isinstance(part, nn.Linear) and name != SECOND
    ]
    if detector.parts_to_train() is not detector or not layers or layers[-1].out_features != 1:
        raise UserError(
            "category is for detectors that train whole and end in a linear layer, and"
            f" {detector.card.name} does not. Leave it out."
        )
    return layers[-1]
