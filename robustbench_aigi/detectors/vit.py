"""Vision Transformers, at 224 and at native 32 x 32."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, final

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import FROM_SCRATCH, NO_WEIGHTS, Card, detectors

HALF = (0.5, 0.5, 0.5)
VIT_B16 = "vit_base_patch16_224.augreg_in21k_ft_in1k"
HUGGING_FACE = (
    ("embeddings.patch_embeddings.projection", "patch_embed.proj"),
    ("embeddings.norm", "patch_embed.norm"),
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("encoder.layer.", "blocks."),
    ("encoder.layers.", "layers."),
    ("attention.output.dense", "attn.proj"),
    ("attention.attention.", "attn."),
    ("attention.self.", "attn."),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
    ("layernorm_before", "norm1"),
    ("layernorm_after", "norm2"),
    ("layernorm", "norm"),
)
"""Parts of Hugging Face's names of a ViT or a Swin, and timm's; an earlier pair goes first."""


def from_hugging_face(tensors: Mapping[str, Tensor], prefix: str, head: str) -> dict[str, Tensor]:
    """A ViT or a Swin in timm's names, its query, key and value one layer; what is in timm's names
    stays as it is.
    """
    named = {}
    for name, value in tensors.items():
        if ".key." in name or ".value." in name:
            continue
        whole, new = value, name.removeprefix(prefix).replace(".query.", ".qkv.")
        if ".query." in name:
            parts = (name.replace(".query.", f".{part}.") for part in ("query", "key", "value"))
            whole = torch.cat([tensors[part] for part in parts if part in tensors])
        for theirs, ours in (*HUGGING_FACE, ("classifier", head)):
            new = new.replace(theirs, ours)
        named[new] = whole
    return named


def vit_trunk(
    model: str,
    pretrained: bool,
    outputs: int,
    *,
    size: int,
    patch: int,
    width: int,
    depth: int,
    heads: int,
) -> nn.Module:
    """A ViT of timm's with ``outputs`` outputs; with none it gives the class token after the last
    norm ``(N, D)``.
    """
    numbers = {
        "img_size": size,
        "patch_size": patch,
        "embed_dim": width,
        "depth": depth,
        "num_heads": heads,
    }
    return timm_backbone(model, pretrained=pretrained, num_classes=outputs, **numbers)


class ViT(Backbone):
    """A ViT whose class token gives the logit."""

    def __init__(
        self,
        config: dict[str, Any],
        *,
        depth: int,
        size: int,
        pretrained: bool = False,
        fake_index: int = 1,
        **rest: int,
    ) -> None:
        net = vit_trunk(VIT_B16, pretrained, 1, size=size, depth=depth, **rest)
        cam = f"net.blocks.{depth - 1}.norm1"
        super().__init__(
            net, config, size=size, cam=cam, mean=HALF, std=HALF, fake_index=fake_index
        )

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From timm's names, or Hugging Face's."""
        return from_hugging_face(tensors, "vit.", self.head)


@detectors.add("vit-b16")
@final
class ViTB16(ViT):
    """ViT-B/16 at 224. Source: Dosovitskiy et al., ICLR 2021.

    The file of ``dima806/ai_vs_real_image_detection`` loads with ``weights=PATH``, as does any
    ViT-B/16 of two classes.

    Args:
        size: side that images are resized to. patch: side of a patch. width, depth, heads: of the
            tokens, the blocks and their attention.
        pretrained: begin with ImageNet's weights, from a hub; only with the other numbers as they
            are.
        fake_index: the output of a two-class checkpoint that means AI-generated.
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
        config: dict[str, Any] = {
            "size": size,
            "patch": patch,
            "width": width,
            "depth": depth,
            "heads": heads,
        }
        config |= {"pretrained": pretrained, "fake_index": fake_index}
        super().__init__(config, **config)


@detectors.add("vit-c32")
@final
class ViTC32(ViT):
    """A small ViT at native 32 x 32. Source: Dosovitskiy et al., ICLR 2021.

    Args:
        patch: side of a patch; 4 gives 64 tokens. width, depth, heads: of the tokens, the blocks
            and their attention.
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
        config: dict[str, Any] = {"patch": patch, "width": width, "depth": depth, "heads": heads}
        super().__init__(config, size=32, **config)
