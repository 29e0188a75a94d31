"""The small convolutional network that came with CIFAKE."""

from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors.base import (
    FROM_SCRATCH,
    NO_WEIGHTS,
    OWN_CODE,
    Card,
    Detector,
    TrainingDefaults,
    detectors,
)


@detectors.add("cifake-cnn")
@final
class CifakeCNN(Detector):
    """Two convolutions, each pooled, then a dense layer.

    Source: Bird & Lotfi, CIFAKE, IEEE Access 2024.

    Args:
        filters: filters of each convolution.
        dense: units of the dense layer.
    """

    default_card = Card(
        name="cifake-cnn",
        source="Bird & Lotfi, CIFAKE, IEEE Access 2024",
        summary="two-layer CNN, 0.1 M parameters",
        code_licence=OWN_CODE,
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
        cam="net.3",
    )
    training_defaults = TrainingDefaults(
        rate_on_few=2e-3
    )  # lower leaves it undertrained at 30 epochs

    def __init__(self, filters: int = 32, dense: int = 64) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, filters, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(filters, filters, 3),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(filters * 36, dense),
            nn.ReLU(),
            nn.Linear(dense, 1),
        ).to(memory_format=torch.channels_last)

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``images``, ``(N, 3, H, W)`` in [0, 1]; pixels are only centred."""
        centred = (fit_size(images, 32) - 0.5).contiguous(memory_format=torch.channels_last)
        return cast("Tensor", self.net(centred)).squeeze(1)
