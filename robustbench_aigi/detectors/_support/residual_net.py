"""A short ResNet-50 on a residual of the image, which shows traces of upsampling."""

from abc import abstractmethod
from collections.abc import Sequence
from types import MappingProxyType
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Detector, Normalise

SMALL_NET = MappingProxyType({"width": 8, "depths": [1, 1], "stem_stride": 1, "pool": False})
"""Arguments of a small network, for trials and tests."""


class ResidualNet(Detector):
    """ResNet-50 cut after its second stage, on a residual of the image that a subclass defines.

    Args:
        width: channels of the stem; the stages end with 4 and 8 times as many.
        depths: number of blocks of the two stages.
        stem_stride: stride of the first convolution; 2 as published, 1 for images of 32 pixels.
        pool: max-pool after the stem; True as published, False for images of 32 pixels.
    """

    def __init__(self, *, width: int, depths: Sequence[int], stem_stride: int, pool: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if pool else nn.Identity()
        self.layer1 = bottleneck_stage(width, width, depths[0], stride=1)
        self.layer2 = bottleneck_stage(4 * width, 2 * width, depths[1], stride=2)
        self.fc1 = nn.Linear(8 * width, 1)
        self.gates = nn.ModuleList(nn.Sequential() for _ in range(3))
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    @abstractmethod
    def residual(self, inputs: Tensor) -> Tensor:
        """Return the residual of normalised images.

        Args:
            inputs: ``(N, 3, H, W)``.

        Returns:
            A map of nearly the same size.
        """

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``images``, ``(N, 3, H, W)`` in [0, 1]."""
        stem, first, second = self.gates
        features = stem(F.relu(self.bn1(self.conv1(self.residual(self.normalise(images))))))
        features = second(self.layer2(first(self.layer1(self.pool(features)))))
        return cast("Tensor", self.fc1(features.mean(dim=(2, 3)))).squeeze(1)


def bottleneck_stage(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    """Build a stage of bottleneck blocks.

    Args:
        inputs: channels that come in.
        planes: inner channels; four times as many go out.
        blocks: number of blocks.
        stride: stride of the first block.
    """
    from timm.models.resnet import Bottleneck  # takes seconds

    shortcut = nn.Sequential(
        nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
    )
    first = Bottleneck(inputs, planes, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(4 * planes, planes) for _ in range(blocks - 1)))


def resample_nearest(images: Tensor, quarters: int) -> Tensor:
    """Shrink images and enlarge them again, with the nearest neighbour both times.

    Args:
        images: ``(N, C, H, W)``, sides a multiple of 4 (of 2 for ``quarters=2``).
        quarters: the scale in quarters, 1 to 3; 2 halves each side.

    Example:
        >>> resample_nearest(torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 2, 4), 2)[0, 0, 0]
        tensor([0., 0., 2., 2.])
    """
    rows, columns = (
        torch.arange(n, device=images.device) * quarters // 4 * 4 // quarters
        for n in images.shape[-2:]
    )
    return images.index_select(-2, rows).index_select(-1, columns)


def trim_to_multiple(images: Tensor, cell: int) -> Tensor:
    """Cut off the last rows and columns that do not fill a cell.

    Args:
        images: ``(N, C, H, W)``.
        cell: side of a cell in pixels.

    Example:
        >>> trim_to_multiple(torch.zeros(1, 3, 5, 8), 4).shape
        torch.Size([1, 3, 4, 8])
    """
    height, width = images.shape[-2:]
    return images[..., : height - height % cell, : width - width % cell]
