"""ResNet-18 with the CIFAR stem."""

from typing import ClassVar, final

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.timm_backbones import cifar_resnet
from robustbench_aigi.detectors.base import (
    FROM_SCRATCH,
    NO_WEIGHTS,
    OWN_CODE,
    Card,
    TrainingDefaults,
    detectors,
)


@detectors.add("resnet18-c32")
@final
class ResNet18C32(Backbone):
    """ResNet-18 at native 32 x 32, with a 3 x 3 stem of stride 1 and no max-pooling.

    Source: He et al., CVPR 2016.

    Args:
        width: channels of the first stage. The published network has 64; the default is small
            enough to train on two CPU cores.
    """

    default_card = Card(
        name="resnet18-c32",
        source="He et al., Deep Residual Learning, CVPR 2016; CIFAR stem",
        summary="ResNet-18 at 32 x 32, width 24, 1.6 M parameters",
        code_licence=OWN_CODE,
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
        cam="net.layer4",
    )
    training_defaults = TrainingDefaults(rate=2e-3)
    head: ClassVar = "fc"

    def __init__(self, width: int = 24) -> None:
        net = cifar_resnet("basic", (2, 2, 2, 2), width)
        super().__init__(net, size=32, cam="net.layer4", channels_last=True)
