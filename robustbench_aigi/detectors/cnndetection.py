"""The detector of CNN-generated images that most later work compares with."""

from typing import ClassVar, final

from jaxtyping import Float
from torch import Tensor

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import FROM_SCRATCH, Card, detectors


@detectors.add("cnndetection")
@final
class CNNDetection(Backbone):
    """ResNet-50 on the image at its own size, neither resized nor cropped.

    The authors' ``blur_jpg_prob0.5.pth`` and ``blur_jpg_prob0.1.pth`` load with ``weights=PATH``.
    Source: Wang et al., CVPR 2020.

    Args:
        pretrained: start from ImageNet weights, from a hub, as the authors did.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
    """

    default_card = Card(
        name="cnndetection",
        source=(
            "Wang et al., CNN-generated images are surprisingly easy to spot... for now, CVPR 2020"
        ),
        summary="ResNet-50 at native size, 23.5 M parameters, trained by its authors on ProGAN",
        code_licence="timm Apache-2.0; this class MIT",
        weights_licence="CC-BY-NC-SA-4.0 (the authors' checkpoints)",
        base_licence=FROM_SCRATCH,
        commercial=False,
        input_size=224,
        resize="none: any size",
        cam="net.layer4",
        published="StyleGAN2 84.4 accuracy, 99.1 AP",
    )

    head: ClassVar = "fc"

    def __init__(self, pretrained: bool = False) -> None:
        net = timm_backbone("resnet50.tv_in1k", pretrained=pretrained, num_classes=1)
        super().__init__(net, size=224, cam="net.layer4", channels_last=True)

    def fitted(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 height width"]:
        """Return ``images`` as they are."""
        return images
