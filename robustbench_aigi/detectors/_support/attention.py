"""Attention over the channels and over the places of a feature map."""

import torch
from torch import Tensor, nn


class ChannelAttention(nn.Module):
    """Weigh channels by the sum of two sigmoids, of their mean and of their maximum.

    CBAM adds before the sigmoid.

    Args:
        channels: number of channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 16)
        self.shared = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Weigh ``features``, ``(N, C, H, W)``."""
        mean = features.mean(dim=(2, 3))
        maximum = features.amax(dim=(2, 3))
        gate = self.shared(mean).sigmoid() + self.shared(maximum).sigmoid()
        weighed: Tensor = features * gate[..., None, None]
        return weighed


class SpatialAttention(nn.Module):
    """Weigh places by the sigmoid of a 7 x 7 convolution over the channels' mean and maximum.

    Source: Woo et al., CBAM, ECCV 2018.

    Args:
        bias: give the convolution a bias.
    """

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Weigh ``features``, ``(N, C, H, W)``."""
        pooled = torch.cat(
            [features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1
        )
        weighed: Tensor = features * self.conv(pooled).sigmoid()
        return weighed
