"""ResNet-18 with the CIFAR stem."""

from typing import cast, final

import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from robustbench_aigi.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Card, Detector, Normalise, detectors, fit_size


@detectors.add("resnet18-c32")
@final
class ResNet18C32(Detector):
    """ResNet-18 at native 32 x 32: a 3 x 3 stem of stride 1 and no max-pooling. Source: He et al., CVPR 2016.

    Args:
        width: channels of the first stage; the paper's ImageNet network has 64. The default trains on two cores.
    """

    default_card = Card(
        name="resnet18-c32",
        source="He et al., Deep Residual Learning, CVPR 2016; CIFAR stem",
        summary="ResNet-18 at 32 x 32, width 24, 1.6 M parameters",
        cam="net.layer4",
    )

    def __init__(self, width: int = 24) -> None:
        super().__init__(width=width)
        widths = (width, 2 * width, 4 * width, 8 * width)
        self.net = ResNet(BasicBlock, (2, 2, 2, 2), num_classes=1, channels=widths, stem_width=width)
        self.net.conv1 = nn.Conv2d(3, self.net.conv1.out_channels, 3, padding=1, bias=False)
        self.net.maxpool = nn.Identity()
        self.net.to(memory_format=torch.channels_last)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        inputs = self.normalise(fit_size(images, 32)).contiguous(memory_format=torch.channels_last)
        return cast("Tensor", self.net(inputs)).squeeze(1)
