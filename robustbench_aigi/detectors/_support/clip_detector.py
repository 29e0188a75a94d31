"""A detector on a frozen CLIP image encoder."""

from functools import partial
from typing import Any, Self, cast

from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors._support.clip_encoder import (
    grad_cam_layer,
    load_clip,
    load_image_encoder,
)
from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors.base import CLIP_MEAN, CLIP_STD, Detector, Normalise


class ClipDetector(Detector):
    """A frozen CLIP image encoder, ``tower``; a subclass puts a ``head`` on its embedding.

    Args:
        model: as in :func:`~robustbench_aigi.detectors._support.clip_encoder.load_clip`.
        pretrained: likewise.
        quick_gelu: likewise.

    Attributes:
        head: maps embeddings ``(N, width)`` to logits ``(N, 1)``.
        size: side of the encoder's input in pixels.
        width: dimensions of the embedding.

    Raises:
        UnavailableError: the encoder is not on this machine and no hub can be reached.
        UserError: the weights were trained with QuickGELU, and the named network has another GELU.
    """

    head: nn.Module

    def __init__(
        self, *, model: str, pretrained: str | None = None, quick_gelu: bool = False
    ) -> None:
        super().__init__()
        self._origin = partial(load_clip, model, pretrained, quick_gelu=quick_gelu)
        encoder = load_image_encoder(model, pretrained, quick_gelu=quick_gelu)
        self.tower = encoder.net
        self.size = encoder.size
        self.width = encoder.width
        self.tower.requires_grad_(False)
        self.normalise = Normalise(CLIP_MEAN, CLIP_STD)
        self.describe(input_size=self.size, cam=f"tower.{grad_cam_layer(self.tower)}")

    def original_clip(self) -> Any:
        """Load the CLIP model, image and text encoder, as it was before any training here."""
        return self._origin()

    def fitted(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 height width"]:
        """Resize ``images``, ``(N, 3, H, W)``, to the encoder's input."""
        return fit_size(images, self.size)

    def embed(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n width"]:
        """Embed images, differentiably.

        Args:
            images: float batch in [0, 1], ``(N, 3, H, W)``.

        Returns:
            Embeddings ``(N, width)``, not normalised.
        """
        return cast("Tensor", self.tower(self.normalise(self.fitted(images))))

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``images``, ``(N, 3, H, W)`` in [0, 1]."""
        return cast("Tensor", self.head(self.embed(images))).squeeze(1)

    def train(self, mode: bool = True) -> Self:
        """Switch the head to training or evaluation; the encoder always stays in evaluation.

        Args:
            mode: whether to train.
        """
        super().train(mode)
        self.tower.eval()
        return self

    def parts_to_train(self) -> nn.Module:
        """Return the head."""
        return self.head


def mlp_head(width: int, hidden: int) -> nn.Module:
    """Build a head of a layer norm, GELU units and one logit.

    Args:
        width: dimensions of the embedding.
        hidden: number of GELU units.
    """
    return nn.Sequential(
        nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, 1)
    )
