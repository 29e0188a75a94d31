"""A detector: bright images are called AI-generated."""

from typing import final

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors import Card, Detector


@final
class MeanBrightness(Detector):
    """A line through the mean brightness of an image.

    Source: this example.
    """

    default_card = Card(
        name="mean-brightness",
        source="an example of a plug-in",
        summary="two parameters",
        code_licence="MIT",
    )

    def __init__(self, slope: float = 10.0) -> None:
        super().__init__(slope=slope)  # arguments given here are written beside the weights
        self.slope = nn.Parameter(torch.tensor(slope))
        self.offset = nn.Parameter(torch.tensor(-slope / 2))

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]; above 0 means AI-generated."""
        return self.slope * images.mean(dim=(1, 2, 3)) + self.offset
