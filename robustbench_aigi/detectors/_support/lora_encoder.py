"""A frozen CLIP image encoder with LoRA on its attention, and its public checkpoints."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.clip_encoder import load_image_encoder
from robustbench_aigi.errors import UserError

OPEN_CLIP_NAMES = MappingProxyType(
    {
        "embeddings.class_embedding": "class_embedding",
        "embeddings.patch_embedding.": "conv1.",
        "embeddings.position_embedding.weight": "positional_embedding",
        "pre_layrnorm.": "ln_pre.",
        "post_layernorm.": "ln_post.",
        "encoder.layers.": "transformer.resblocks.",
        ".layer_norm1.": ".ln_1.",
        ".layer_norm2.": ".ln_2.",
        ".mlp.fc1.": ".mlp.c_fc.",
        ".mlp.fc2.": ".mlp.c_proj.",
        ".self_attn.out_proj.": ".attn.attention.out_proj.",
    }
)
"""Parts of Hugging Face's names of a CLIP vision transformer, and of open_clip's."""


class LoRA(nn.Module):
    """A linear update of low rank that is zero at first.

    It updates joined projections in open_clip's layout, which PEFT does not support.
    Source: Hu et al., ICLR 2022.

    Args:
        width: dimensions of the input and of the output.
        rank: rank of the update.
        alpha: the update is scaled by ``alpha / rank``.
        dropout: share of inputs dropped in training.
    """

    def __init__(self, width: int, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.drop = nn.Dropout(dropout)
        self.down = nn.Linear(width, rank, bias=False)
        self.up = nn.Linear(rank, width, bias=False)
        nn.init.zeros_(self.up.weight)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the update for ``inputs``, ``(..., width)``."""
        changed: Tensor = self.up(self.down(self.drop(inputs)))
        return self.scale * changed


class LoRAAttention(nn.Module):
    """Frozen self-attention with LoRA on query, key and value.

    It replaces an ``nn.MultiheadAttention``.

    Args:
        attention: the attention to adapt.
        rank: as in :class:`LoRA`.
        alpha: as in :class:`LoRA`.
        dropout: as in :class:`LoRA`.
    """

    def __init__(
        self, attention: nn.MultiheadAttention, rank: int, alpha: float, dropout: float
    ) -> None:
        super().__init__()
        self.attention = attention.requires_grad_(False)
        self.lora = nn.ModuleList(LoRA(attention.embed_dim, rank, alpha, dropout) for _ in range(3))

    def forward(self, inputs: Tensor, *same: Tensor, **unused: Any) -> tuple[Tensor, None]:
        """Attend from tokens to themselves, without a mask.

        Args:
            inputs: tokens, ``(N, T, D)``.
            same: ignored; a CLIP image encoder passes the tokens again as key and value.
            unused: ignored, as a CLIP image encoder has no mask.
        """
        frozen = F.linear(inputs, self.attention.in_proj_weight, self.attention.in_proj_bias)
        joined = frozen + torch.cat([change(inputs) for change in self.lora], dim=-1)
        q, k, v = joined.unflatten(-1, (3, self.attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return self.attention.out_proj(mixed), None


class AdaptedEncoder(NamedTuple):
    """A frozen CLIP image encoder, without its last projection, and its adapted attentions.

    Attributes:
        net: maps normalised images ``(N, 3, size, size)`` to pooled features ``(N, width)``.
        size: side of the input in pixels.
        width: dimensions of the pooled feature.
        attentions: the attention of each block.
    """

    net: nn.Module
    size: int
    width: int
    attentions: list[LoRAAttention]


def load_adapted_encoder(
    model: str, pretrained: str | None, adapt: Callable[[nn.MultiheadAttention], LoRAAttention]
) -> AdaptedEncoder:
    """Load a CLIP image encoder, freeze it, and adapt its attentions.

    Args:
        model: as in :func:`~robustbench_aigi.detectors._support.clip_encoder.load_clip`.
        pretrained: likewise.
        adapt: returns the adapted attention.

    Raises:
        UserError: the encoder is no vision transformer of open_clip.
    """
    loaded = load_image_encoder(model, pretrained)
    encoder: Any = loaded.net
    blocks = getattr(getattr(encoder, "transformer", None), "resblocks", None)
    if blocks is None or not all(isinstance(block.attn, nn.MultiheadAttention) for block in blocks):
        raise UserError(
            f"LoRA needs a vision transformer of open_clip, got {model}. Write"
            " model='ViT-L-14-quickgelu'."
        )
    encoder.requires_grad_(False)
    encoder.proj = None
    for block in blocks:
        block.attn = adapt(block.attn)
    return AdaptedEncoder(
        encoder,
        loaded.size,
        width=encoder.ln_post.normalized_shape[0],
        attentions=[block.attn for block in blocks],
    )


def from_peft_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of an encoder from Hugging Face's names with PEFT's LoRA.

    Args:
        tensors: tensors below ``feature_extractor.``.

    Returns:
        Tensors below ``tower.``; query, key and value are joined, the matrices of LoRA are not.
    """
    renamed = {_open_clip_name(name): value for name, value in tensors.items()}
    renamed.pop("tower.embeddings.position_ids", None)
    for name in [name for name in renamed if ".self_attn.q_proj." in name]:
        parts = [renamed.pop(name.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        renamed[name.replace(".self_attn.q_proj.", ".attn.attention.in_proj_")] = torch.cat(parts)
    return renamed


def _open_clip_name(name: str) -> str:
    name = name.replace("feature_extractor.", "tower.").replace(".base_layer.", ".")
    for theirs, ours in OPEN_CLIP_NAMES.items():
        name = name.replace(theirs, ours)
    for place, letter in enumerate("qkv"):
        own = f".attn.lora.{place}."
        name = name.replace(f".self_attn.{letter}_proj.lora_A.default.", f"{own}down.")
        name = name.replace(f".self_attn.{letter}_proj.lora_B.default.", f"{own}up.")
    return name
