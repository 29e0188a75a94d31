"""ResNet-50, at 224 and at native 32 x 32."""

from types import MappingProxyType
from typing import ClassVar, final

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.timm_backbones import cifar_resnet, timm_backbone
from robustbench_aigi.detectors.base import FROM_SCRATCH, NO_WEIGHTS, Card, detectors


@detectors.add("resnet50")
@final
class ResNet50(Backbone):
    """ResNet-50 on resized images.

    Source: He et al., CVPR 2016.

    Args:
        size: side in pixels that images are resized to.
        pretrained: start from ImageNet weights, from a hub.
        fake_index: output of a two-class checkpoint that means AI-generated; torchvision's
            ImageFolder on CIFAKE gives 0.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
    """

    default_card = Card(
        name="resnet50",
        source="He et al., Deep Residual Learning, CVPR 2016; network from timm",
        summary="ResNet-50 at 224, 23.5 M parameters",
        code_licence="timm Apache-2.0",
        weights_licence=NO_WEIGHTS,
        base_licence="BSD-3-Clause (torchvision), if pretrained",
        commercial=True,
        input_size=224,
        cam="net.layer4",
        published="CIFAKE 96.14, static adversarial set 86.13 (CIFAKE++ study); Tiny-GenImage 86.3",
    )
    small = MappingProxyType({"size": 32})
    head: ClassVar = "fc"

    def __init__(self, size: int = 224, pretrained: bool = False, fake_index: int = 1) -> None:
        net = timm_backbone("resnet50.tv_in1k", pretrained=pretrained, num_classes=1)
        super().__init__(
            net, size=size, cam="net.layer4", channels_last=True, fake_index=fake_index
        )


@detectors.add("resnet50-c32")
@final
class ResNet50C32(Backbone):
    """ResNet-50 at native 32 x 32, with a 3 x 3 stem of stride 1 and no max-pooling.

    Source: He et al., CVPR 2016.

    Args:
        width: channels of the stem. The published network has 64; the default is small enough to
            train on two CPU cores.
    """

    default_card = Card(
        name="resnet50-c32",
        source="He et al., Deep Residual Learning, CVPR 2016; CIFAR stem",
        summary="ResNet-50 at 32 x 32, width 16, 1.5 M parameters",
        code_licence="MIT; timm Apache-2.0",
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
        cam="net.layer4",
    )
    small = MappingProxyType({"width": 8})
    head: ClassVar = "fc"

    def __init__(self, width: int = 16) -> None:
        net = cifar_resnet("bottleneck", (3, 4, 6, 3), width)
        super().__init__(net, size=32, cam="net.layer4", channels_last=True)
