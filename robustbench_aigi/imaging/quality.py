"""How near a changed image is to its source: PSNR and SSIM of a batch."""

import math

import torch
from torch import Tensor

from robustbench_aigi.imaging.pixels import LEVELS

WINDOW_SIGMA = 1.5
"""Standard deviation of SSIM's Gaussian window, in pixels."""
WINDOW_REACH = 5
"""Pixels of SSIM's window on each side of its centre: 11 x 11."""


def psnr(changed: Tensor, source: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio ``(N,)`` in dB; infinite where nothing changed.

    Args:
        changed: ``(N, 3, H, W)`` grey levels.
        source: of the same shape.

    Example:
        >>> psnr(torch.full((1, 3, 8, 8), 255), torch.zeros(1, 3, 8, 8))
        tensor([0.], dtype=torch.float64)
    """
    error = (changed - source).double().square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(LEVELS**2 / error)


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


def ssim(changed: Tensor, source: Tensor) -> Tensor:
    """Return the structural similarity ``(N,)``, the mean over channels; NaN below 11 pixels.

    Places where the window leaves the image are not counted.

    Args:
        changed: ``(N, 3, H, W)`` grey levels.
        source: of the same shape.

    Source: Wang et al., IEEE TIP 2004.
    """
    if min(source.shape[-2:]) <= 2 * WINDOW_REACH:
        return torch.full((len(source),), torch.nan, dtype=torch.float64)
    one = changed.float()
    other = source.float()
    mean_one = _blur(one)
    mean_other = _blur(other)
    variance_one = _blur(one.square()) - mean_one.square()
    variance_other = _blur(other.square()) - mean_other.square()
    covariance = _blur(one * other) - mean_one * mean_other
    low = (0.01 * LEVELS) ** 2
    high = (0.03 * LEVELS) ** 2
    top = (2 * mean_one * mean_other + low) * (2 * covariance + high)
    means = mean_one.square() + mean_other.square() + low
    similarity = top / (means * (variance_one + variance_other + high))
    return similarity.mean(dim=(1, 2, 3)).double()


def _blur(images: Tensor) -> Tensor:
    """Average images ``(N, 3, H, W)`` over the window, where it fits.

    Shifted sums are quicker than a convolution.
    """
    steps = torch.arange(-WINDOW_REACH, WINDOW_REACH + 1, dtype=torch.float64)
    window = torch.exp(-steps.square() / (2 * WINDOW_SIGMA**2))
    shares = (window / window.sum()).tolist()
    for dim in (-2, -1):
        size = images.shape[dim] - 2 * WINDOW_REACH
        total = images.narrow(dim, 0, size) * shares[0]
        for start, share in enumerate(shares[1:], start=1):
            total.add_(images.narrow(dim, start, size), alpha=share)
        images = total
    return images
