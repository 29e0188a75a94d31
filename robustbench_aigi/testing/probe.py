"""A small detector and four images, on which components are tried."""

from typing import cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from robustbench_aigi.detectors import Card, Detector

PROBE_SIDE = 32
"""Pixels on each side of a probe image."""


@final
class ProbeDetector(Detector):
    """Two convolutions, batch normalisation and a linear layer: smooth, small and differentiable.

    Source: this project; it detects nothing.
    """

    default_card = Card(name="probe", source="robustbench_aigi.testing", summary="4 000 parameters")

    def __init__(self, width: int = 16) -> None:
        super().__init__(width=width)
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(16 * width, 1),
        )

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        return cast("Tensor", self.net(images - 0.5)).squeeze(1)


def probe_detector(seed: int = 1) -> Detector:
    """Return a small detector with random weights, in evaluation mode.

    Args:
        seed: of the weights; torch's own random state stays as it is.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ProbeDetector().eval()


def probe_images(
    side: int = PROBE_SIDE, seed: int = 0
) -> tuple[Float[Tensor, "n 3 h w"], Int[Tensor, " n"]]:
    """Return four textured images, and their labels: real, AI-generated, real, AI-generated.

    Args:
        side: height and width in pixels.
        seed: of the pixels.

    Returns:
        Images float32 ``(4, 3, side, side)`` in [0, 1] on the 8-bit grid, and labels int64
        ``(4,)``.

    Example:
        >>> images, labels = probe_images(side=8)
        >>> tuple(images.shape), labels.tolist()
        ((4, 3, 8, 8), [0, 1, 0, 1])
    """
    rng = torch.Generator().manual_seed(seed)
    images = torch.randint(40, 216, (4, 3, side, side), generator=rng).float() / 255
    return images, torch.tensor([0, 1, 0, 1])
