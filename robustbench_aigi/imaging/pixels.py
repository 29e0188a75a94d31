"""The 8-bit pixel grid: what a PNG can hold."""

import torch
from torch import Tensor

LEVELS = 255


def to_bytes(images: Tensor) -> Tensor:
    """Round images in [0, 1] to uint8 grey levels. Rounds, never truncates: truncation leaves an
    L-inf ball.
    """
    return images.detach().mul(LEVELS).round().clamp(0, LEVELS).to(torch.uint8).cpu()


def from_bytes(pixels: Tensor) -> Tensor:
    """Turn uint8 grey levels into float32 images in [0, 1]."""
    return pixels.to(torch.float32) / LEVELS


def snap(images: Tensor) -> Tensor:
    """Move images to the nearest point of the 8-bit grid: what a PNG would hold."""
    return images.mul(LEVELS).round().clamp(0, LEVELS).div(LEVELS)


def on_grid(images: Tensor) -> bool:
    """Whether every value is in [0, 1] and, to float32 rounding, a multiple of 1/255."""
    levels = images.detach() * LEVELS
    return bool(
        ((levels - levels.round()).abs() < 1e-3).all()
        and (levels >= 0).all()
        and (levels <= LEVELS).all()
    )
