"""The spectrum of natural images, forced on any image."""

from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, final

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Num, UInt8
from scipy.fft import irfft2, rfft2
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import Share, SpectralSlope
from robustbench_aigi.imaging.arrays import Bytes, Floats, rounded, row_parts


@attacks.add("spectrum-match")
@final
@dataclass(frozen=True, kw_only=True)
class SpectrumMatch(Perturbation):
    """Scale each channel's Fourier amplitude onto 1 / f^``alpha``, as in natural images.

    Each ring of one frequency is scaled as a whole. Phases, mean and contrast stay. Source: Field,
    JOSA A 1987, for the line; Dzanic et al., NeurIPS 2020, and Durall et al., CVPR 2020, for the
    spectra that give generated images away. The severities are ours.

    Args:
        alpha: the line's slope in log amplitude over log frequency, near 1 for photographs.
        strength: share of the way from the image's own amplitude (0) to the line (1).
    """

    alpha: SpectralSlope = 1.0
    strength: Share = 1.0

    severities = MappingProxyType({"strength": (0.2, 0.4, 0.6, 0.8, 1.0)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Match the spectrum of ``image``."""
        matched = np.empty_like(image.numpy())
        for channel, target in zip(image.numpy(), matched, strict=True):
            self._match(channel.astype(np.float64, order="C"), target)
        return torch.from_numpy(matched)

    def _match(self, channel: Floats, out: Bytes) -> None:
        shape = self._shape(channel)
        spread = float(shape.std())
        shape *= channel.std() / spread if spread else 0
        mean = channel.mean()
        for part in row_parts(*channel.shape):
            pixels = channel[part]
            out[part] = rounded(pixels + self.strength * (mean + shape[part] - pixels))

    def _shape(self, channel: Floats) -> Floats:
        """Return the image of the scaled spectrum, without mean and of any contrast."""
        spectrum = rfft2(channel)
        rings, frequencies = rings_of(*channel.shape)
        heights = ring_heights(spectrum, rings, floor=(channel.size / 12) ** 0.5)
        line = -self.alpha * np.log(frequencies)
        gains = np.exp(line - heights - (line - heights).max())
        gains[0] = 0
        for part in row_parts(*spectrum.shape):
            spectrum[part] *= gains.take(rings[part])
        return np.asarray(irfft2(spectrum, s=channel.shape, overwrite_x=True))


def ring_heights(
    spectrum: npt.NDArray[np.complex128], rings: npt.NDArray[np.integer[Any]], floor: float
) -> Floats:
    """Return the mean log amplitude of each ring.

    Args:
        spectrum: Fourier coefficients, ``(H, W // 2 + 1)``.
        rings: of the same shape, the ring of each.
        floor: amplitude that the rounding to grey levels has; smaller ones count as it.
    """
    logs = np.empty(spectrum.shape)
    for part in row_parts(*spectrum.shape):
        few = np.abs(spectrum[part], out=logs[part])
        np.log(np.maximum(few, floor, out=few), out=few)
    sums = np.bincount(rings.ravel(), logs.ravel())
    counts = np.bincount(rings.ravel())
    return np.asarray(sums / np.maximum(counts, 1))


@lru_cache(maxsize=64)
def rings_of(height: int, width: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Return the ring of every coefficient, and the frequency of every ring.

    Args:
        height: of the image, in pixels.
        width: of the image, in pixels.

    Returns:
        Rings ``(H, W // 2 + 1)``, and frequencies in cycles per pixel; that of ring 0, the mean,
        is 1.
    """
    side = max(height, width)
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    rings = np.rint(radius * side).astype(np.int64)
    return rings, np.maximum(np.arange(rings.max() + 1), [side] + [0] * int(rings.max())) / side
