"""ResNet-50: at 224 with ImageNet's weights where a hub can be reached, and at native 32 x 32 with the CIFAR stem."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast, final

import torch
from timm.models.resnet import Bottleneck, ResNet
from torch import Tensor, nn

from robustbench_aigi.detectors.base import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Card,
    Detector,
    Normalise,
    detectors,
    fit_size,
    one_logit,
)
from robustbench_aigi.detectors.trunks import timm_trunk


@detectors.add("resnet50")
@final
class ResNet50(Detector):
    """ResNet-50 on images resized to ``size``. Source: He et al., CVPR 2016.

    Args:
        pretrained: begin with ImageNet's weights, from a hub. fake_index: the output of a two-class checkpoint that
            means AI-generated; torchvision's ImageFolder on CIFAKE gives 0.
    """

    default_card = Card(
        name="resnet50",
        source="He et al., Deep Residual Learning, CVPR 2016; network from timm",
        summary="ResNet-50 at 224, 23.5 M parameters",
        code_licence="timm Apache-2.0",
        base_licence="BSD-3-Clause (torchvision), if pretrained",
        input_size=224,
        cam="net.layer4",
        published="CIFAKE 96.14, static adversarial set 86.13 (CIFAKE++ study); Tiny-GenImage 86.3",
    )
    small = MappingProxyType({"size": 64})

    def __init__(self, size: int = 224, pretrained: bool = False, fake_index: int = 1) -> None:
        super().__init__(size=size, pretrained=pretrained, fake_index=fake_index)
        self.net = timm_trunk("resnet50.tv_in1k", pretrained=pretrained, num_classes=1)
        self.net.to(memory_format=torch.channels_last)
        self.size, self.fake_index = size, fake_index
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.card = self.card.model_copy(update={"input_size": size})

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        inputs = self.normalise(fit_size(images, self.size)).contiguous(memory_format=torch.channels_last)
        return cast("Tensor", self.net(inputs)).squeeze(1)

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From torchvision's names, one or two outputs."""
        return {
            f"net.{name}": one_logit(value, self.fake_index) if name.startswith("fc.") else value
            for name, value in tensors.items()
        }


@detectors.add("resnet50-c32")
@final
class ResNet50C32(Detector):
    """ResNet-50 at native 32 x 32: a 3 x 3 stem of stride 1 and no max-pooling. Source: He et al., CVPR 2016.

    Args:
        width: channels of the stem; the published network has 64. The default trains on two cores.
    """

    default_card = Card(
        name="resnet50-c32",
        source="He et al., Deep Residual Learning, CVPR 2016; CIFAR stem",
        summary="ResNet-50 at 32 x 32, width 16, 1.5 M parameters",
        code_licence="MIT; timm Apache-2.0",
        cam="net.layer4",
    )
    small = MappingProxyType({"width": 8})

    def __init__(self, width: int = 16) -> None:
        super().__init__(width=width)
        widths = (width, 2 * width, 4 * width, 8 * width)
        self.net = ResNet(Bottleneck, (3, 4, 6, 3), num_classes=1, channels=widths, stem_width=width)
        self.net.conv1 = nn.Conv2d(3, self.net.conv1.out_channels, 3, padding=1, bias=False)
        self.net.maxpool = nn.Identity()
        self.net.to(memory_format=torch.channels_last)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        inputs = self.normalise(fit_size(images, 32)).contiguous(memory_format=torch.channels_last)
        return cast("Tensor", self.net(inputs)).squeeze(1)
