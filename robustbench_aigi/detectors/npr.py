"""NPR: neighbouring pixel relationships, a residual that shows upsampling."""

from collections.abc import Sequence
from typing import final

from torch import Tensor

from robustbench_aigi.detectors._support.residual_net import (
    SMALL_NET,
    ResidualNet,
    resample_nearest,
    trim_to_multiple,
)
from robustbench_aigi.detectors.base import FROM_SCRATCH, Card, detectors


@detectors.add("npr")
@final
class NPR(ResidualNet):
    """Each pixel minus the first of its 2 x 2 cell, times 2/3, then a short ResNet-50.

    The authors' ``NPR.pth`` and ``model_epoch_last_3090.pth`` load with ``weights=PATH``.
    Source: Tan et al., CVPR 2024.

    Args:
        width: channels of the stem; the stages end with 4 and 8 times as many.
        depths: number of blocks of the two stages.
        stem_stride: stride of the first convolution; 2 as published, 1 for images of 32 pixels.
        pool: max-pool after the stem; True as published, False for images of 32 pixels.
    """

    default_card = Card(
        name="npr",
        source=(
            "Tan et al., Rethinking the Up-Sampling Operations in CNN-based Generative Network,"
            " CVPR 2024"
        ),
        summary=(
            "short ResNet-50 on neighbouring pixel relationships at native size, 1.4 M parameters"
        ),
        code_licence=(
            "MIT (written from the paper; the authors' code states no licence); timm Apache-2.0"
        ),
        weights_licence="none stated (the authors' NPR.pth): all rights reserved",
        base_licence=FROM_SCRATCH,
        commercial=False,
        input_size=224,
        resize="none: any size; an odd last row or column is cut off",
        cam="layer2",
        published=(
            "ForenSynths 92.5 accuracy, 96.1 AP; GenImage 90.1, 96.9; AIGIBench real 93.8, fake"
            " 41.9"
        ),
    )
    small = SMALL_NET

    def __init__(
        self,
        width: int = 64,
        depths: Sequence[int] = (3, 4),
        stem_stride: int = 2,
        pool: bool = True,
    ) -> None:
        super().__init__(width=width, depths=depths, stem_stride=stem_stride, pool=pool)

    def residual(self, inputs: Tensor) -> Tensor:
        """Return two thirds of what nearest-neighbour resampling by 2 removes from ``inputs``."""
        inputs = trim_to_multiple(inputs, 2)
        return (inputs - resample_nearest(inputs, 2)) * (2 / 3)
