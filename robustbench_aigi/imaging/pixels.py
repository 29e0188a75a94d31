"""The 8-bit pixel grid: what a PNG can hold."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

MAX_LEVEL = 255
"""Grey levels from black to white."""
GRID_TOLERANCE = 1e-3
"""Distance from a whole grey level that float32 rounding may leave."""
PART_VALUES = 2**22
"""Values that are checked at once, so that a photograph is not copied."""


def to_bytes(images: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Round images to uint8 grey levels, on the CPU; truncation would leave an L-inf ball.

    Args:
        images: any shape, in [0, 1].

    Example:
        >>> to_bytes(torch.tensor([0.0, 0.5, 1.0])).tolist()
        [0, 128, 255]
    """
    levels = images.detach().mul(MAX_LEVEL).round_().clamp_(0, MAX_LEVEL)
    return levels.to(torch.uint8).cpu()


def from_bytes(pixels: UInt8[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return images of uint8 grey levels as float32 in [0, 1].

    Args:
        pixels: any shape, 0 to 255.
    """
    return pixels.to(torch.float32, copy=True).div_(MAX_LEVEL)


def snap(images: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Move images to the nearest point of the 8-bit grid: what a PNG would hold.

    Args:
        images: any shape, in [0, 1].
    """
    return images.mul(MAX_LEVEL).round().clamp(0, MAX_LEVEL).div(MAX_LEVEL)


def on_grid(images: Float[Tensor, "*shape"]) -> bool:
    """Return whether every value is in [0, 1] and, to float32 rounding, a multiple of 1/255.

    Args:
        images: any shape.
    """
    parts = images.detach().flatten().split(PART_VALUES)
    return all(_is_part_on_grid(part * MAX_LEVEL) for part in parts)


def _is_part_on_grid(levels: Tensor) -> bool:
    error = (levels.round() - levels).abs_()
    return bool((error < GRID_TOLERANCE).all() & (levels >= 0).all() & (levels <= MAX_LEVEL).all())
