"""Image quality: PSNR and SSIM of changed images."""

import math
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, Num
from numpy.typing import NDArray
from torch import Tensor

from robustbench_aigi.imaging.pixels import MAX_LEVEL, PART_VALUES

T = TypeVar("T", float, NDArray[np.float64])
WINDOW_SIGMA = 1.5
"""Standard deviation of SSIM's Gaussian window, in pixels."""
WINDOW_RADIUS = 5
"""Radius of the window, in pixels: it is 11 x 11."""


def psnr(changed: Num[Tensor, "n 3 h w"], source: Num[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
    """Return the peak signal-to-noise ratio ``(N,)`` in dB; infinite where nothing changed.

    Args:
        changed: ``(N, 3, H, W)`` in grey levels.
        source: the same shape, in grey levels.

    Example:
        >>> psnr(torch.full((1, 3, 4, 4), 255.0), torch.zeros(1, 3, 4, 4)).tolist()
        [0.0]
    """
    # Whole numbers, so that float64 sums are exact in any order, and channels can be added up.
    squares = [
        (changed[:, channel].double() - source[:, channel]).square_().sum(dim=(1, 2))
        for channel in range(changed.shape[1])
    ]
    error = torch.stack(squares).sum(dim=0) / changed[0].numel()
    return 10 * torch.log10(MAX_LEVEL**2 / error)


def psnr_from_l2(l2: float, values: int) -> float:
    """Return the peak signal-to-noise ratio in dB of one image; infinite if nothing changed.

    Args:
        l2: norm of the change, pixels in [0, 1].
        values: numbers in the image, three per pixel.

    Example:
        >>> psnr_from_l2(1.0, 100)
        20.0
    """
    if l2 <= 0:
        return math.inf
    return -20 * math.log10(l2 / math.sqrt(values))


def rms_of_psnr(psnr: T) -> T:
    """Return the root mean square of a change, in grey levels: a size that holds at any image size.

    Args:
        psnr: of the changed images, in dB; infinite where nothing changed. A number or an array.

    Example:
        >>> round(rms_of_psnr(35.0), 2)
        4.53
    """
    return MAX_LEVEL * 10 ** (psnr / -20)


def ssim(changed: Num[Tensor, "n 3 h w"], source: Num[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
    """Return the structural similarity ``(N,)``, the mean over channels; NaN below 11 pixels.

    Pixels where the window leaves the image are not counted. Source: Wang et al., IEEE TIP 2004.

    Args:
        changed: ``(N, 3, H, W)`` in grey levels.
        source: the same shape, in grey levels.
    """
    if min(source.shape[-2:]) <= 2 * WINDOW_RADIUS:
        return torch.full((len(source),), torch.nan, dtype=torch.float64)
    if source.numel() > PART_VALUES:  # large images one channel at a time
        planes = zip(changed.flatten(0, 1), source.flatten(0, 1), strict=True)
        each = [_similarity(*plane).mean().double() for plane in planes]
        return torch.stack(each).view(changed.shape[:2]).mean(dim=1)
    return _similarity(changed, source).mean(dim=(1, 2, 3)).double()


def _similarity(changed: Tensor, source: Tensor) -> Float[Tensor, "*n h w"]:
    """Return the similarity at each place of the window."""
    x = changed.float()
    y = source.float()
    mean_x = _blurred(x)
    mean_y = _blurred(y)
    variance_x = _blurred(x.square()) - mean_x.square()
    variance_y = _blurred(y.square()) - mean_y.square()
    covariance = _blurred(x * y) - mean_x * mean_y
    c1 = (0.01 * MAX_LEVEL) ** 2
    c2 = (0.03 * MAX_LEVEL) ** 2
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return numerator / ((mean_x.square() + mean_y.square() + c1) * (variance_x + variance_y + c2))


def _blurred(images: Tensor) -> Tensor:
    """Average images ``(..., H, W)`` over the window, where it fits.

    Sums of shifted images are quicker than conv2d.
    """
    steps = torch.arange(-WINDOW_RADIUS, WINDOW_RADIUS + 1, dtype=torch.float64)
    window = torch.exp(-steps.square() / (2 * WINDOW_SIGMA**2))
    weights = (window / window.sum()).tolist()
    for dim in (-2, -1):
        size = images.shape[dim] - 2 * WINDOW_RADIUS
        total = images.narrow(dim, 0, size) * weights[0]
        for start, weight in enumerate(weights[1:], start=1):
            total.add_(images.narrow(dim, start, size), alpha=weight)
        images = total
    return images
