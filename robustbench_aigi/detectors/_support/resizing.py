"""Resizing and cropping images to the size that a network takes, always differentiably."""

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def fit_size(images: Float[Tensor, "n 3 h w"], size: int) -> Float[Tensor, "n 3 height width"]:
    """Resize images bilinearly to a square; images of that size are returned unchanged.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1].
        size: side of the square in pixels.
    """
    return resize(images, (size, size), "bilinear")


def resize(
    images: Float[Tensor, "n 3 h w"], size: tuple[int, int], kernel: str
) -> Float[Tensor, "n 3 height width"]:
    """Resize images with Pillow's kernels; images of that size are returned unchanged.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1].
        size: ``(height, width)`` in pixels.
        kernel: ``nearest-exact``, ``bilinear``, ``bicubic`` or ``lanczos``; all but the first with
            antialiasing.
    """
    if images.shape[-2:] == size:
        return images
    if kernel == "nearest-exact":
        return F.interpolate(images, size=size, mode=kernel)
    resized = F.interpolate(images, size=size, mode=kernel, antialias=True, align_corners=False)
    if kernel == "bilinear":
        return resized
    return resized.clamp(0, 1)  # the other kernels overshoot, which a pixel cannot hold


def short_side(images: Float[Tensor, "n 3 h w"], size: int) -> tuple[int, int]:
    """Return height and width in the images' proportion, rounded down as torchvision does.

    Args:
        images: ``(N, 3, H, W)``.
        size: the shorter of the two, in pixels.

    Example:
        >>> import torch
        >>> short_side(torch.zeros(1, 3, 40, 61), 20)
        (20, 30)
    """
    height, width = images.shape[-2:]
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def centre_crop(
    images: Float[Tensor, "n 3 h w"], size: tuple[int, int], *, down: bool = False
) -> Float[Tensor, "n 3 height width"]:
    """Crop the middle of images; black is added around images that are smaller.

    Args:
        images: ``(N, 3, H, W)``.
        size: ``(height, width)`` in pixels.
        down: where half a pixel is left over, start above it, as transformers does; else at the
            even one, as torchvision does.
    """
    missing_rows = max(0, size[0] - images.shape[-2])
    missing_columns = max(0, size[1] - images.shape[-1])
    top_padding = missing_rows // 2
    left_padding = missing_columns // 2
    images = F.pad(
        images,
        (left_padding, missing_columns - left_padding, top_padding, missing_rows - top_padding),
    )
    top = _half(images.shape[-2] - size[0], down=down)
    left = _half(images.shape[-1] - size[1], down=down)
    return images[..., top : top + size[0], left : left + size[1]]


def _half(rest: int, *, down: bool) -> int:
    return rest // 2 if down else round(rest / 2)
