"""Vision Transformers, at 224 and at native 32 x 32."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import final

from torch import Tensor

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.vit_backbone import (
    HALF_STATISTICS,
    VIT_B16_MODEL,
    from_hugging_face,
    vit_backbone,
)
from robustbench_aigi.detectors.base import FROM_SCRATCH, NO_WEIGHTS, Card, detectors


class ViT(Backbone):
    """A ViT whose class token gives the logit.

    Args:
        size: side in pixels that images are resized to.
        patch: side of a patch in pixels.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
        pretrained: start from ImageNet weights, from a hub.
        fake_index: output of a two-class checkpoint that means AI-generated.
    """

    def __init__(
        self,
        *,
        size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        pretrained: bool = False,
        fake_index: int = 1,
    ) -> None:
        net = vit_backbone(
            VIT_B16_MODEL,
            pretrained,
            1,
            size=size,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
        )
        super().__init__(
            net,
            size=size,
            cam=f"net.blocks.{depth - 1}.norm1",
            mean=HALF_STATISTICS,
            std=HALF_STATISTICS,
            fake_index=fake_index,
        )

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename ``tensors`` from Hugging Face's names; timm's stay as they are."""
        return from_hugging_face(tensors, "vit.", self.head)


@detectors.add("vit-b16")
@final
class ViTB16(ViT):
    """ViT-B/16 at 224.

    The file of ``dima806/ai_vs_real_image_detection`` loads with ``weights=PATH``, as does any
    ViT-B/16 of two classes. Source: Dosovitskiy et al., ICLR 2021.

    Args:
        size: side in pixels that images are resized to.
        patch: side of a patch in pixels.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
        pretrained: start from ImageNet weights, from a hub; only with the default numbers.
        fake_index: output of a two-class checkpoint that means AI-generated.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
    """

    default_card = Card(
        name="vit-b16",
        source="Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021; network from timm",
        summary="ViT-B/16 at 224, 85.8 M parameters",
        code_licence="timm Apache-2.0; this class MIT",
        weights_licence="Apache-2.0 (dima806/ai_vs_real_image_detection)",
        base_licence="Apache-2.0 (ImageNet-21k, augreg), if pretrained",
        commercial=True,
        input_size=224,
        cam="net.blocks.11.norm1",
        published=(
            "CIFAKE 98.25, static adversarial set 91.75 (CIFAKE++ study); Tiny-GenImage 87.03; "
            "98.40 on 12k images (card of dima806's checkpoint)"
        ),
    )
    small = MappingProxyType({"size": 32, "patch": 8, "width": 48, "depth": 2, "heads": 3})

    def __init__(
        self,
        size: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        pretrained: bool = False,
        fake_index: int = 1,
    ) -> None:
        super().__init__(
            size=size,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
            pretrained=pretrained,
            fake_index=fake_index,
        )


@detectors.add("vit-c32")
@final
class ViTC32(ViT):
    """A small ViT at native 32 x 32.

    Source: Dosovitskiy et al., ICLR 2021.

    Args:
        patch: side of a patch in pixels; 4 gives 64 tokens.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
    """

    default_card = Card(
        name="vit-c32",
        source="Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021; network from timm",
        summary="ViT at 32 x 32, patches of 4, width 192, 2.7 M parameters",
        code_licence="timm Apache-2.0; this class MIT",
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
        cam="net.blocks.5.norm1",
    )
    small = MappingProxyType({"width": 48, "depth": 2})

    def __init__(self, patch: int = 4, width: int = 192, depth: int = 6, heads: int = 3) -> None:
        super().__init__(size=32, patch=patch, width=width, depth=depth, heads=heads)
