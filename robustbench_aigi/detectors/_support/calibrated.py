"""The base class of training-free detectors: a raw score, calibrated to a logit on data."""

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors.base import Detector, Labelled
from robustbench_aigi.errors import DataError, TrainingCollapsedError, UserError
from robustbench_aigi.imaging.pixels import from_bytes

CALIBRATION_BATCH = 100
"""Images that are scored together."""


class Calibrated(Detector):
    """A detector without parameters to train; a subclass writes its raw score, :meth:`raw`.

    Whether a high score means AI-generated depends on the generator and on the numbers chosen, so
    :meth:`prepare` measures it on validation data; the threshold leaves ``false_alarms`` of the
    validation reals above it. Both, and the scale, are buffers, so that a checkpoint holds them.
    Until then the card states that nothing was measured.

    Args:
        false_alarms: share of reals that may be called AI-generated.
        config: the subclass's own arguments.

    Raises:
        UserError: ``false_alarms`` is not between 0 and 1.
    """

    config_first: ClassVar[tuple[str, ...]] = ("false_alarms",)
    direction: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(self, false_alarms: float) -> None:
        super().__init__()
        if not 0 < false_alarms < 1:
            raise UserError(
                f"false_alarms must be between 0 and 1, got {false_alarms}. Write 0.05 for one real"
                " in 20."
            )
        self.false_alarms = false_alarms
        self.register_buffer("direction", torch.tensor(1.0))
        self.register_buffer("offset", torch.tensor(0.0))
        self.register_buffer("scale", torch.tensor(1.0))
        unmeasured = (
            "NOT CALIBRATED: direction as published, no threshold yet. Type `train"
            f" {self.card.name}`"
        )
        self.describe(orientation=unmeasured, weights="training-free, not calibrated")

    @abstractmethod
    def raw(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return raw scores, high where the authors suspect a fake, differentiable in the images.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].

        Returns:
            Scores ``(N,)``.
        """

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Return how far raw scores are beyond the threshold, in standard deviations.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].
        """
        return self.direction * (self.raw(images) - self.offset) / self.scale

    def parts_to_train(self) -> nn.Module:
        """Return an empty part, as there is nothing to train."""
        return nn.Identity()

    @torch.no_grad()
    def prepare(self, train: Labelled, validation: Labelled) -> None:
        """Measure direction, threshold and scale on the validation images.

        Args:
            train: not used.
            validation: reals and fakes.

        Raises:
            DataError: the validation images are of one class.
            TrainingCollapsedError: they all have the same score.
        """
        from sklearn.metrics import roc_auc_score

        fake = validation.labels == 1
        if fake.all() or not fake.any():
            raise DataError(
                f"{self.card.name} is calibrated on reals and fakes; the validation images are of"
                " one class."
            )
        self.eval()
        raw = torch.cat(
            [self.raw(from_bytes(part)) for part in validation.images.split(CALIBRATION_BATCH)]
        )
        if not raw.std() > 0:
            raise TrainingCollapsedError(
                f"{self.card.name} scores all {len(raw)} validation images alike: {raw[0]:.4g}."
                " Give other images, or change its arguments."
            )
        auc = float(roc_auc_score(fake.numpy(), raw.double().numpy()))
        direction = 1.0 if auc >= 0.5 else -1.0
        level = torch.quantile(
            direction * raw[~fake], 1 - self.false_alarms, interpolation="higher"
        )
        self.direction.fill_(direction)
        self.offset.copy_(direction * level)
        self.scale.copy_(raw.std())
        self.describe(
            orientation=self._measured(auc, len(raw)),
            weights="training-free, calibrated in this process",
        )

    def _measured(self, auc: float, count: int) -> str:
        """Describe the direction and its evidence, for the card."""
        way = "as published" if auc >= 0.5 else "opposite to the published one"
        return (
            f"logit > 0 means AI-generated, as {self.false_alarms:.0%} of reals are called;"
            f" direction {way}, measured on {count} validation images (AUC {max(auc, 1 - auc):.3f})"
        )
