"""Gaussian blur."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from scipy.ndimage import gaussian_filter
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import BlurSigma
from robustbench_aigi.imaging.arrays import Bytes, Floats, rounded, row_parts

WINDOW_SIGMAS = 4
"""Standard deviations on each side of a pixel that the window reaches, as in scipy."""


@attacks.add("gaussian-blur")
@final
@dataclass(frozen=True, kw_only=True)
class GaussianBlur(Perturbation):
    """Blur with a Gaussian of ``sigma`` pixels; edges are mirrored.

    Source: Hendrycks & Dietterich, ICLR 2019; the severities are the range of Wang et al., CVPR
    2020.

    Args:
        sigma: standard deviation, in pixels.
    """

    sigma: BlurSigma = 1.0

    severities = MappingProxyType({"sigma": (0.5, 1.0, 1.5, 2.0, 3.0)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Blur ``image``."""
        weights = _half_window(self.sigma)
        blurred = np.empty_like(image.numpy())
        for channel, target in zip(image.numpy(), blurred, strict=True):
            _blur(channel, weights, target)
        return torch.from_numpy(blurred)


def _half_window(sigma: float) -> list[float]:
    """Return the weights of a Gaussian window, from its end to its middle."""
    radius = int(WINDOW_SIGMAS * sigma + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    window = gaussian_filter(impulse, sigma, mode="constant", truncate=WINDOW_SIGMAS)
    return [float(weight) for weight in window[: radius + 1]]


def _blur(channel: Bytes, weights: list[float], out: Bytes) -> None:
    """Blur a channel ``(H, W)``; the bits before rounding are those of ``scipy.ndimage``."""
    radius = len(weights) - 1
    frame = (radius, radius)
    lines = np.pad(channel, (frame, (0, 0)), mode="symmetric").astype(np.float64)
    for part in row_parts(*channel.shape):
        rows = _averaged(lines[part.start : part.stop + 2 * radius], weights)
        rows = np.pad(rows, ((0, 0), frame), mode="symmetric")
        out[part] = rounded(_averaged(rows.T, weights).T)


def _averaged(lines: Floats, weights: list[float]) -> Floats:
    """Return the weighted sum of every line and its neighbours, where the window fits."""
    radius = len(weights) - 1
    size = len(lines) - 2 * radius
    total = lines[radius : radius + size] * weights[radius]
    pair = np.empty_like(total)
    for step, weight in enumerate(weights[:radius]):
        mirrored = 2 * radius - step
        np.add(lines[step : step + size], lines[mirrored : mirrored + size], out=pair)
        pair *= weight
        total += pair
    return total
