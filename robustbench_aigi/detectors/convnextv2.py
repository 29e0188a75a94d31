"""ConvNeXt V2, fine-tuned with a learning rate that falls from block to block."""

from types import MappingProxyType
from typing import Any, ClassVar, cast, final

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import Card, detectors


@detectors.add("convnextv2")
@final
class ConvNeXtV2(Backbone):
    """ConvNeXt V2 with one logit.

    Source: Woo et al., CVPR 2023.

    Args:
        model: name in timm; ``convnextv2_base.fcmae_ft_in1k`` as published, ``convnextv2_atto`` for
            small machines.
        size: side in pixels that images are resized to.
        patch: side of the stem's patches in pixels; 4 as published, 1 or 2 for images of 32 pixels.
        pretrained: start from timm's weights, from a hub.
        fake_index: output of a two-class checkpoint that means AI-generated.

    Attributes:
        layer_decay: learning rate of a block as a share of that of the block after it.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
    """

    default_card = Card(
        name="convnextv2",
        source=(
            "Woo et al., ConvNeXt V2, CVPR 2023; recipe of the public card"
            " xRayon/convnext-ai-images-detector"
        ),
        summary="ConvNeXt V2 Base at 256, 87.7 M parameters, layer-wise decay of the rate",
        code_licence="timm Apache-2.0; this class MIT",
        weights_licence="MIT (the card's checkpoint)",
        base_licence="CC-BY-NC-4.0 (ImageNet weights), if pretrained or fine-tuned from them",
        commercial=False,
        input_size=256,
        cam="net.stages.3",
        published="EvalGEN 90.40, which seems to be recall on fakes alone",
    )
    small = MappingProxyType({"model": "convnextv2_atto", "size": 32, "patch": 2})
    head: ClassVar = "head.fc"
    layer_decay: ClassVar = 0.8

    def __init__(
        self,
        model: str = "convnextv2_base.fcmae_ft_in1k",
        size: int = 256,
        patch: int = 4,
        pretrained: bool = False,
        fake_index: int = 1,
    ) -> None:
        net = timm_backbone(model, pretrained=pretrained, num_classes=1, patch_size=patch)
        super().__init__(
            net, size=size, cam="net.stages.3", channels_last=True, fake_index=fake_index
        )

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """Return groups whose learning rate falls by ``layer_decay`` from block to block.

        Args:
            decay: weight decay of matrices.
        """
        from timm.optim import param_groups_layer_decay  # takes seconds

        groups = param_groups_layer_decay(
            self.net, weight_decay=decay, layer_decay=self.layer_decay
        )
        return cast("list[dict[str, Any]]", groups)
