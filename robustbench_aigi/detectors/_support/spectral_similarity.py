"""The parts of SPAI: windows, low frequencies, and the layers that summarise similarities."""

from collections import OrderedDict
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MIN_WINDOWS = 4
"""Number of windows below which the four corners and the middle are taken instead."""


class Pooling(nn.Module):
    """Attention of a learnt query over the windows of an image.

    Args:
        described: dimensions of a window's description.
        width: dimensions of the attention.
        heads: number of its heads.
        dropout: share dropped in training.
    """

    def __init__(self, described: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(heads, 1, width // heads))
        self.to_kv = nn.Linear(described, 2 * width, bias=False)
        self.to_out = nn.Linear(width, described, bias=False)
        self.dropout = dropout

    def forward(self, described: Tensor) -> Tensor:
        """Summarise the windows of each image.

        Args:
            described: descriptions, ``(N, L, D)``.

        Returns:
            Summaries, ``(N, D)``.
        """
        keys, values = (
            self.to_kv(described).unflatten(-1, (2, len(self.query), -1)).permute(2, 0, 3, 1, 4)
        )
        asked = self.query.expand(len(described), -1, -1, -1)
        drop = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(asked, keys, values, dropout_p=drop)
        return F.dropout(self.to_out(found.flatten(1)), self.dropout, self.training)


class Context(nn.Module):
    """A summary of the image's own features, with learnt weights of the blocks.

    Args:
        blocks: number of blocks of the ViT.
        width: dimensions of a feature.
        dropout: share dropped in training.
    """

    def __init__(self, blocks: int, width: int, dropout: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.randn(1, blocks, width))
        self.proj1 = projector(2 * width, width, dropout, inner=True)
        self.proj2 = projector(width, width, dropout, inner=True)

    def forward(self, features: Tensor) -> Tensor:
        """Project mean and deviation over tokens, sum over blocks, and project again.

        Args:
            features: ``(M, blocks, tokens, D)``.

        Returns:
            Summaries, ``(M, D)``.
        """
        moments = torch.cat([features.mean(dim=2), deviation(features, dim=2)], dim=-1)
        weighed = self.alpha.softmax(dim=1) * self.proj1(moments)
        return cast("Tensor", self.proj2(weighed.sum(dim=1)))


def projector(inputs: int, outputs: int, dropout: float, inner: bool = False) -> nn.Sequential:
    """Build two linear layers with a layer norm before and after.

    Args:
        inputs: dimensions that come in.
        outputs: dimensions that go out.
        dropout: share dropped in training.
        inner: leave out the norm before, and end in a GELU.
    """
    drop = nn.Dropout(dropout)
    last = nn.GELU() if inner else nn.Identity()
    layers = nn.Sequential(
        drop, nn.Linear(inputs, outputs), nn.GELU(), drop, nn.Linear(outputs, outputs), last, drop
    )
    before = nn.Identity() if inner else nn.LayerNorm(inputs)
    return nn.Sequential(OrderedDict(norm1=before, projector=layers, norm2=nn.LayerNorm(outputs)))


def mlp(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    """Build two hidden layers of ReLU units and one logit.

    Args:
        inputs: dimensions that come in.
        hidden: units of each hidden layer.
        dropout: share dropped in training.
    """
    first, second = (nn.Linear(width, hidden) for width in (inputs, hidden))
    drop = nn.Dropout(dropout)
    return nn.Sequential(first, nn.ReLU(), drop, second, nn.ReLU(), drop, nn.Linear(hidden, 1))


def deviation(values: Tensor, dim: int) -> Tensor:
    """Return the standard deviation, with a finite gradient also where all values are equal.

    They are equal in a flat image.

    Args:
        values: any shape.
        dim: the dimension to reduce.

    Example:
        >>> deviation(torch.tensor([1.0, 3.0]), dim=0)
        tensor(1.4142)
    """
    return (values.var(dim=dim) + 1e-12).sqrt()


def circle(size: int, radius: float) -> Tensor:
    """Return a mask of the low frequencies of an unshifted spectrum.

    As its authors count, the frequencies 0 and -1 are both the middle.

    Args:
        size: side S of the spectrum.
        radius: radius of the circle, in frequencies.

    Returns:
        1 inside the circle and 0 outside, ``(S, S)``.
    """
    frequencies = torch.fft.fftfreq(size, 1 / size).round()
    steps = torch.where(frequencies < 0, -frequencies - 1, frequencies)
    return (torch.hypot(steps[:, None], steps[None]) < radius).float()


def windows(images: Tensor, size: int) -> Tensor:
    """Cut images into windows side by side.

    Args:
        images: ``(N, 3, H, W)``; smaller ones are padded with zeros around.
        size: side S of a window in pixels.

    Returns:
        Windows ``(N, L, 3, S, S)``; where fewer than :data:`MIN_WINDOWS` fit, the four corners and
        the middle.

    Example:
        >>> windows(torch.zeros(1, 3, 64, 96), 32).shape
        torch.Size([1, 6, 3, 32, 32])
    """
    height, width = images.shape[-2:]
    missing = [max(0, size - width), max(0, size - height)]
    images = F.pad(images, [part for m in missing for part in (m // 2, m - m // 2)])
    height, width = images.shape[-2:]
    if height == width == size:
        return images[:, None]  # five crops of it would be five times the same
    if (height // size) * (width // size) >= MIN_WINDOWS:
        grid = images.unfold(2, size, size).unfold(3, size, size)
        return grid.flatten(2, 3).transpose(1, 2)
    down = height - size
    right = width - size
    corners = [(0, 0), (0, right), (down, 0), (down, right), (round(down / 2), round(right / 2))]
    return torch.stack([images[..., y : y + size, x : x + size] for y, x in corners], dim=1)
