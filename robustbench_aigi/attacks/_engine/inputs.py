"""Checks of what an attack is given: images become float32 on the 8-bit grid, labels int64."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import MAX_LEVEL, from_bytes, on_grid, snap

FLOAT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def batch_of(
    images: Tensor, labels: Tensor, ids: Sequence[str] | None
) -> tuple[Tensor, Tensor, list[str]]:
    """Return images in [0, 1], labels and ids as attacks use them.

    Args:
        images: ``(N, 3, H, W)``: uint8 grey levels, or floats in [0, 1] on the 8-bit grid.
        labels: ``(N,)``, 0 (real) or 1 (AI-generated), of any type.
        ids: one per image; "0", "1", ... if None.

    Returns:
        float32 ``(N, 3, H, W)``, int64 ``(N,)`` and N names.

    Raises:
        UserError: a type, a shape or a value is off; the message says what to write.
    """
    check_pixels(images)
    if not isinstance(labels, Tensor):
        raise UserError(
            f"labels must be a tensor, got {_type(labels)}. Write torch.as_tensor(labels)."
        )
    names = [str(i) for i in range(len(images))] if ids is None else list(ids)
    if labels.shape != images.shape[:1] or len(names) != len(images):
        raise UserError(
            f"{len(images)} images need as many labels and ids, got {tuple(labels.shape)} and"
            f" {len(names)}. Give one of each per image."
        )
    if not bool(((labels == 0) | (labels == 1)).all()):
        raise UserError(
            f"labels must be 0 (real) or 1 (AI-generated), got {labels.unique().tolist()}."
            " Map your own classes to these two."
        )
    return _on_grid(images), labels.to(torch.int64), names


def check_pixels(images: Tensor) -> None:
    """Raise unless images are ``(N, 3, H, W)``, uint8 or floats in [0, 1].

    Args:
        images: what the user gave.

    Raises:
        UserError: they are not; the message says what to write.
    """
    if not isinstance(images, Tensor):
        raise UserError(
            f"images must be a tensor (N, 3, H, W), got {_type(images)}. {_conversion(images)}"
        )
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(
            f"images must be (N, 3, H, W), got {tuple(images.shape)}. {_reshaped(images.shape)}"
        )
    if images.dtype not in (torch.uint8, *FLOAT_TYPES):
        raise UserError(
            f"images must be uint8 grey levels or floats in [0, 1], got {images.dtype}. "
            "Write images.to(torch.uint8) if its values are 0 to 255."
        )
    if images.dtype in FLOAT_TYPES and images.numel():
        low, high = (float(end) for end in images.detach().aminmax())
        if not (low >= 0 and high <= 1):
            raise UserError(
                f"images must be in [0, 1], got values from {low:.4g} to {high:.4g}."
                f" {_rescaled(low, high)}"
            )


def _on_grid(images: Tensor) -> Tensor:
    """Return images that passed :func:`check_pixels` in float32; raise if they are off the grid."""
    if images.dtype == torch.uint8:
        return from_bytes(images)
    if images.dtype == torch.float32:
        if on_grid(images):
            return images
    elif _is_rounded_grid(images):
        return snap(images.detach().float())
    raise UserError(
        "images must be on the 8-bit grid in [0, 1]. Write"
        " robustbench_aigi.imaging.pixels.snap(images)."
    )


def _is_rounded_grid(images: Tensor) -> bool:
    """Whether images of another float type are the nearest such floats to grid values.

    The nearest float to k/255 is off by half the distance of two floats below 1, a quarter of the
    type's eps: 0.06 levels in float16 and 0.498 in bfloat16, so that the level is still known.
    """
    levels = images.detach().double() * MAX_LEVEL
    rounding = MAX_LEVEL * torch.finfo(images.dtype).eps / 4 + 1e-3
    return bool(((levels - levels.round()).abs() <= rounding).all())


def _type(given: Any) -> str:
    return f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")


def _conversion(images: Any) -> str:
    """Return what to write to make a tensor of images of another library."""
    if isinstance(images, np.ndarray):
        permutations = {3: ".permute(2, 0, 1)[None]", 4: ".permute(0, 3, 1, 2)"}
        has_channels_last = images.shape[-1:] == (3,)
        permuted = permutations.get(images.ndim, "") if has_channels_last else ""
        return f"Write torch.from_numpy(images){permuted}."
    if isinstance(images, Image.Image):
        return 'Write torch.from_numpy(numpy.array(images.convert("RGB"))).permute(2, 0, 1)[None].'
    return "Write torch.stack(images) if it is a list of tensors (3, H, W)."


def _reshaped(shape: torch.Size) -> str:
    """Return what to write to make ``(N, 3, H, W)`` of a tensor of another shape."""
    if len(shape) == 3:
        permuted = ".permute(2, 0, 1)" if shape[2] == 3 and shape[0] != 3 else ""
        return f"Write images{permuted}[None] to add the batch axis."
    if len(shape) == 4 and shape[3] == 3:
        return "Write images.permute(0, 3, 1, 2) to put the channels second."
    if len(shape) == 4 and shape[1] == 1:
        return "Write images.expand(-1, 3, -1, -1) to repeat grey as colour."
    if len(shape) == 4 and shape[1] == 4:
        return "Write images[:, :3] to leave the alpha channel out."
    return "Write torch.stack(images) if it is a list of tensors (3, H, W)."


def _rescaled(low: float, high: float) -> str:
    """Return what to write to bring values into [0, 1]."""
    if math.isnan(low):
        return "Look for a division by zero where they are made."
    if low < 0:
        return "Give images before mean and standard deviation are taken out."
    return "Write images / 255." if 2 < high <= MAX_LEVEL else "Write images.clamp(0, 1)."
