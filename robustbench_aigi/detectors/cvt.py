"""CvT: a transformer whose tokens, queries, keys and values come from convolutions."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast, final

import torch
from timm.layers import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors.base import FROM_SCRATCH, NO_WEIGHTS, OWN_CODE, Card, detectors

STRIDES = {"query": 1, "key": 2, "value": 2}
CONVOLVED = r"attention\.attention\.convolution_projection_(\w+)\.convolution_projection\."
HUGGING_FACE = (
    (r"^cvt\.encoder\.", ""),
    (r"embedding\.convolution_embeddings\.projection", "embed"),
    (r"embedding\.convolution_embeddings\.normalization", "embed_norm"),
    (r"\.layers\.", ".blocks."),
    (CONVOLVED + "convolution", r"attn.conv.\1.0"),
    (CONVOLVED + "normalization", r"attn.conv.\1.1"),
    (r"attention\.attention\.projection_(\w+)", r"attn.linear.\1"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"output\.dense", "mlp.fc2"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"^layernorm", "norm"),
    (r"^classifier", "head"),
)
"""Patterns in Hugging Face's names, and the names here; an earlier pair goes first."""


class Attention(nn.Module):
    """Attention whose queries, keys and values are first convolved depthwise; keys and values at
    half the side.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.conv = nn.ModuleDict(
            {part: _depthwise(dim, stride) for part, stride in STRIDES.items()}
        )
        self.linear = nn.ModuleDict({part: nn.Linear(dim, dim) for part in STRIDES})
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Attend over ``(N, height * width, D)`` tokens; a class token before them passes by the
        convolutions.
        """
        area, dim = height * width, tokens.shape[2]
        first, rest = tokens.split([tokens.shape[1] - area, area], dim=1)
        maps = rest.transpose(1, 2).unflatten(2, (height, width))

        def projected(part: str) -> Tensor:
            seen = torch.cat([first, self.conv[part](maps).flatten(2).transpose(1, 2)], dim=1)
            whole = cast("Tensor", self.linear[part](seen))
            return cast("Tensor", whole.unflatten(2, (self.heads, -1))).transpose(1, 2)

        query, key, value = (projected(part) for part in STRIDES)
        # scaled by the whole width, not by a head's: so the published weights were trained
        seen = F.scaled_dot_product_attention(query, key, value, scale=dim**-0.5)
        return cast("Tensor", self.proj(seen.transpose(1, 2).flatten(2)))


def _depthwise(dim: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(dim, dim, 3, stride, 1, groups=dim, bias=False), nn.BatchNorm2d(dim)
    )


class Block(nn.Module):
    """Attention and an MLP of four times the width, each after a norm and with a shortcut."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(dim), Attention(dim, heads)
        self.norm2, self.mlp = nn.LayerNorm(dim), Mlp(dim, 4 * dim)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Tokens ``(N, L, D)`` to tokens of the same shape."""
        tokens = tokens + self.attn(self.norm1(tokens), height, width)
        return cast("Tensor", tokens + self.mlp(self.norm2(tokens)))


class Stage(nn.Module):
    """A strided convolution that makes tokens, and blocks on them.

    Args:
        kernel, stride: of the convolution. last: add a class token.
    """

    def __init__(
        self, before: int, dim: int, depth: int, heads: int, kernel: int, stride: int, last: bool
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(before, dim, kernel, stride, (kernel - stride + 1) // 2)
        self.embed_norm = nn.LayerNorm(dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim)) if last else None
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps ``(N, C, H, W)`` to the next maps, or in the last stage to the class token ``(N,
        D)``.
        """
        maps = self.embed(maps)
        height, width = maps.shape[-2:]
        tokens = self.embed_norm(maps.flatten(2).transpose(1, 2))
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens, height, width)
        if self.cls_token is not None:
            return cast("Tensor", tokens[:, 0])
        return cast("Tensor", tokens.transpose(1, 2).unflatten(2, (height, width)))


class ConvolutionalTransformer(nn.Module):
    """The network of CvT, with one output.

    Args:
        dims, depths, heads: channels, blocks and attention heads of each stage.
        stem: stride of the first convolution; 4, with a 7 x 7 kernel, as published, else the kernel
            is 3 x 3.
    """

    def __init__(
        self, dims: Sequence[int], depths: Sequence[int], heads: Sequence[int], stem: int
    ) -> None:
        super().__init__()
        stages = []
        for i, (dim, depth, count) in enumerate(zip(dims, depths, heads, strict=True)):
            kernel, stride = (7 if stem == 4 else 3, stem) if i == 0 else (3, 2)
            stages.append(
                Stage(
                    dims[i - 1] if i else 3, dim, depth, count, kernel, stride, i == len(dims) - 1
                )
            )
        self.stages = nn.Sequential(*stages)
        self.norm, self.head = nn.LayerNorm(dims[-1]), nn.Linear(dims[-1], 1)
        for name, parameter in self.named_parameters():
            if name.endswith("cls_token") or parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Logits ``(N, 1)`` of normalised ``(N, 3, H, W)`` images."""
        return cast("Tensor", self.head(self.norm(self.stages(images))))


class CvT(Backbone):
    """A CvT whose class token gives the logit."""

    def __init__(
        self,
        config: dict[str, Any],
        *,
        size: int,
        dims: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        stem: int,
        fake_index: int = 1,
    ) -> None:
        net = ConvolutionalTransformer(dims, depths, heads, stem)
        cam = f"net.stages.{len(dims) - 1}.blocks.{depths[-1] - 1}.norm1"
        super().__init__(net, config, size=size, cam=cam, fake_index=fake_index)

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From Hugging Face's names."""
        named = {}
        for name, value in tensors.items():
            new = name
            for theirs, ours in HUGGING_FACE:
                new = re.sub(theirs, ours, new)
            named[new] = value
        return named


@detectors.add("cvt-13")
@final
class CvT13(CvT):
    """CvT-13 at 224. Source: Wu et al., CvT, ICCV 2021.

    The file of ``microsoft/cvt-13`` loads with ``weights=PATH``; its 1000 classes give way to a
    fresh head, to be trained. So does a CvT-13 that was fine-tuned on two classes, head and all.

    Args:
        size: side that images are resized to. dims, depths, heads: channels, blocks and attention
            heads of each stage.
        stem: stride of the first convolution; 4, with a 7 x 7 kernel, as published, else the kernel
            is 3 x 3.
        fake_index: the output of a two-class checkpoint that means AI-generated.
    """

    default_card = Card(
        name="cvt-13",
        source=(
            "Wu et al., CvT: Introducing Convolutions to Vision Transformers, ICCV 2021; own"
            " network"
        ),
        summary="CvT-13 at 224, 19.6 M parameters",
        code_licence=OWN_CODE,
        weights_licence=NO_WEIGHTS,
        base_licence="MIT (microsoft/cvt-13), if loaded",
        commercial=True,
        input_size=224,
        cam="net.stages.2.blocks.9.norm1",
        published="Tiny-GenImage 83.32",
    )
    small = MappingProxyType(
        {"size": 32, "dims": [16, 24, 32], "depths": [1, 1, 2], "heads": [1, 2, 4], "stem": 2}
    )

    def __init__(
        self,
        size: int = 224,
        dims: Sequence[int] = (64, 192, 384),
        depths: Sequence[int] = (1, 2, 10),
        heads: Sequence[int] = (1, 3, 6),
        stem: int = 4,
        fake_index: int = 1,
    ) -> None:
        config: dict[str, Any] = {
            "size": size,
            "dims": list(dims),
            "depths": list(depths),
            "heads": list(heads),
        }
        config |= {"stem": stem, "fake_index": fake_index}
        super().__init__(config, **config)


@detectors.add("cvt-c32")
@final
class CvTC32(CvT):
    """A small CvT at native 32 x 32, its maps 16, 8 and 4 wide. Source: Wu et al., CvT, ICCV 2021.

    Args:
        dims, depths, heads: channels, blocks and attention heads of each stage.
    """

    default_card = Card(
        name="cvt-c32",
        source=(
            "Wu et al., CvT: Introducing Convolutions to Vision Transformers, ICCV 2021; own"
            " network"
        ),
        summary="CvT at 32 x 32, strides of 2, widths 32, 96 and 160, 1.7 M parameters",
        code_licence=OWN_CODE,
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
        cam="net.stages.2.blocks.3.norm1",
    )
    small = MappingProxyType({"dims": [16, 24, 32], "depths": [1, 1, 2], "heads": [1, 2, 4]})

    def __init__(
        self,
        dims: Sequence[int] = (32, 96, 160),
        depths: Sequence[int] = (1, 2, 4),
        heads: Sequence[int] = (1, 3, 5),
    ) -> None:
        config: dict[str, Any] = {"dims": list(dims), "depths": list(depths), "heads": list(heads)}
        super().__init__(config, size=32, stem=2, **config)
