"""Vision Transformers of timm, and their checkpoints under Hugging Face's names."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors._support.timm_backbones import timm_backbone

HALF_STATISTICS = (0.5, 0.5, 0.5)
"""Mean and standard deviation per channel, of images in [0, 1], that these networks expect."""
VIT_B16_MODEL = "vit_base_patch16_224.augreg_in21k_ft_in1k"
"""Name in timm of ViT-B/16."""
TIMM_NAMES = (
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
"""Parts of Hugging Face's names of a ViT or a Swin, and timm's, replaced in this order."""


def from_hugging_face(tensors: Mapping[str, Tensor], prefix: str, head: str) -> dict[str, Tensor]:
    """Rename the tensors of a ViT or a Swin to timm's names; query, key and value become one layer.

    Args:
        tensors: tensors by Hugging Face's names; those by timm's names stay as they are.
        prefix: what Hugging Face's names begin with, such as ``vit.``.
        head: name in timm of the last linear layer.
    """
    renamed = {}
    for name, value in tensors.items():
        if ".key." in name or ".value." in name:
            continue
        new = name.removeprefix(prefix).replace(".query.", ".qkv.")
        for theirs, ours in (*TIMM_NAMES, ("classifier", head)):
            new = new.replace(theirs, ours)
        renamed[new] = _joined(tensors, name) if ".query." in name else value
    return renamed


def _joined(tensors: Mapping[str, Tensor], query: str) -> Tensor:
    """Return query, key and value as one tensor."""
    parts = [query.replace(".query.", f".{part}.") for part in ("query", "key", "value")]
    return torch.cat([tensors[part] for part in parts if part in tensors])


def vit_backbone(
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
    """Build a ViT of timm.

    Args:
        model: name in timm.
        pretrained: load timm's weights; only with the other numbers as published.
        outputs: number of outputs; with 0 it returns the class token after the last norm,
            ``(N, width)``.
        size: side of the input in pixels.
        patch: side of a patch in pixels.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
    """
    return timm_backbone(
        model,
        pretrained=pretrained,
        num_classes=outputs,
        img_size=size,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
    )
