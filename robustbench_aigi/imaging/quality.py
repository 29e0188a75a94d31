"""How near a changed image is to its source: PSNR and SSIM, a batch at a time."""

import torch
from torch import Tensor

from robustbench_aigi.imaging.pixels import LEVELS

SIGMA, REACH = 1.5, 5
"""Of SSIM's Gaussian window, in pixels: 11 x 11."""


def psnr(changed: Tensor, source: Tensor) -> Tensor:
    """Peak signal-to-noise ratio ``(N,)`` in dB of ``(N, 3, H, W)`` grey levels; infinite where
    nothing changed.
    """
    error = (changed - source).double().square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(LEVELS**2 / error)


def ssim(changed: Tensor, source: Tensor) -> Tensor:
    """Structural similarity ``(N,)`` of ``(N, 3, H, W)`` grey levels, the mean over channels; NaN
    below 11 pixels.

    Where the window leaves the image nothing is counted. Source: Wang et al., IEEE TIP 2004.
    """
    if min(source.shape[-2:]) <= 2 * REACH:
        return torch.full((len(source),), torch.nan, dtype=torch.float64)
    one, other = changed.float(), source.float()
    means = [_blurred(image) for image in (one, other)]
    spreads = [
        _blurred(image.square()) - mean.square()
        for image, mean in zip((one, other), means, strict=True)
    ]
    together = _blurred(one * other) - means[0] * means[1]
    low, high = (0.01 * LEVELS) ** 2, (0.03 * LEVELS) ** 2
    top = (2 * means[0] * means[1] + low) * (2 * together + high)
    alike = top / ((means[0].square() + means[1].square() + low) * (spreads[0] + spreads[1] + high))
    return alike.mean(dim=(1, 2, 3)).double()


def _blurred(images: Tensor) -> Tensor:
    """Images ``(N, 3, H, W)`` averaged over the window, where it fits (shifted sums: quicker than
    conv2d).
    """
    steps = torch.arange(-REACH, REACH + 1, dtype=torch.float64)
    window = torch.exp(-steps.square() / (2 * SIGMA**2))
    shares = (window / window.sum()).tolist()
    for dim in (-2, -1):
        size = images.shape[dim] - 2 * REACH
        total = images.narrow(dim, 0, size) * shares[0]
        for start, share in enumerate(shares[1:], start=1):
            total.add_(images.narrow(dim, start, size), alpha=share)
        images = total
    return images
