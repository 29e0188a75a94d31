"""The network of CvT: a transformer whose tokens and projections come from convolutions."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PART_STRIDES = {"query": 1, "key": 2, "value": 2}
"""Strides of the convolutions before attention."""


class Attention(nn.Module):
    """Attention whose queries, keys and values are first convolved depthwise.

    Keys and values have half the side.

    Args:
        dim: dimensions of a token.
        heads: number of attention heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.conv = nn.ModuleDict(
            {part: _depthwise(dim, stride) for part, stride in PART_STRIDES.items()}
        )
        self.linear = nn.ModuleDict({part: nn.Linear(dim, dim) for part in PART_STRIDES})
        self.proj = nn.Linear(dim, dim)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Attend from every token to all tokens.

        Args:
            tokens: ``(N, height * width, D)``; a class token may stand before them, which is not
                convolved.
            height: height of the map of tokens.
            width: width of the map of tokens.
        """
        area = height * width
        dim = tokens.shape[2]
        first, rest = tokens.split([tokens.shape[1] - area, area], dim=1)
        maps = rest.transpose(1, 2).unflatten(2, (height, width))

        def projected(part: str) -> Tensor:
            convolved = self.conv[part](maps).flatten(2).transpose(1, 2)
            whole = cast("Tensor", self.linear[part](torch.cat([first, convolved], dim=1)))
            return cast("Tensor", whole.unflatten(2, (self.heads, -1))).transpose(1, 2)

        query, key, value = (projected(part) for part in PART_STRIDES)
        # The published weights were trained with the scale of the whole width, not of one head.
        seen = F.scaled_dot_product_attention(query, key, value, scale=dim**-0.5)
        return cast("Tensor", self.proj(seen.transpose(1, 2).flatten(2)))


def _depthwise(dim: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(dim, dim, 3, stride, 1, groups=dim, bias=False), nn.BatchNorm2d(dim)
    )


class Block(nn.Module):
    """Attention and an MLP of four times the width, each after a norm and with a shortcut.

    Args:
        dim: dimensions of a token.
        heads: number of attention heads.
    """

    def __init__(self, dim: int, heads: int) -> None:
        from timm.layers import Mlp  # takes seconds

        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, 4 * dim)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """Map tokens to tokens of the same shape.

        Args:
            tokens: ``(N, L, D)``.
            height: height of the map of tokens.
            width: width of the map of tokens.
        """
        tokens = tokens + self.attn(self.norm1(tokens), height, width)
        return cast("Tensor", tokens + self.mlp(self.norm2(tokens)))


class Stage(nn.Module):
    """A strided convolution that makes tokens, and blocks on them.

    Args:
        before: channels that come in.
        dim: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
        kernel: side of the convolution's kernel.
        stride: stride of the convolution.
        last: add a class token.
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
        """Map feature maps to the next ones, and in the last stage to the class token.

        Args:
            maps: ``(N, C, H, W)``.

        Returns:
            Feature maps, or in the last stage the class token ``(N, D)``.
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
        dims: channels of each stage.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage.
        stem: stride of the first convolution; 4, with a 7 x 7 kernel, as published, else the kernel
            is 3 x 3.
    """

    def __init__(
        self, dims: Sequence[int], depths: Sequence[int], heads: Sequence[int], stem: int
    ) -> None:
        super().__init__()
        stem_kernel = 7 if stem == 4 else 3
        kernels = [stem_kernel] + [3] * (len(dims) - 1)
        strides = [stem] + [2] * (len(dims) - 1)
        inputs = [3, *dims[:-1]]
        is_last = [False] * (len(dims) - 1) + [True]
        shapes = zip(inputs, dims, depths, heads, kernels, strides, is_last, strict=True)
        stages = [Stage(*shape) for shape in shapes]
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], 1)
        for name, parameter in self.named_parameters():
            if name.endswith("cls_token") or parameter.ndim == 2:
                nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(N, 1)`` of normalised ``images``, ``(N, 3, H, W)``."""
        return cast("Tensor", self.head(self.norm(self.stages(images))))
