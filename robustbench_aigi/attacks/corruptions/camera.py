"""A camera: the image photographed again."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import affine_transform, convolve
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import Aberration, ReadNoise, Share, WellCharge
from robustbench_aigi.imaging.pixels import MAX_LEVEL

Floats = npt.NDArray[np.float64]
DEMOSAIC_KERNEL = np.array([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]])
"""Weights of a pixel's neighbours in bilinear demosaicing."""


@attacks.add("camera")
@final
@dataclass(frozen=True, kw_only=True)
class Camera(Perturbation):
    """See the image through a lens and a Bayer sensor, in linear light.

    The sensor is RGGB with bilinear demosaicing. Source: Foi et al., IEEE TIP 2008, for the noise:
    its variance in electrons is the signal + ``read`` squared. The severities are ours.

    Args:
        aberration: lateral chromatic aberration: how much larger red and smaller blue are drawn, as
            a share.
        vignette: share of the light that is lost in the corners; it falls off with the square of
            the distance.
        electrons: charge of a white pixel; the fewer, the more shot noise.
        read: standard deviation of the read noise, in electrons.
    """

    aberration: Aberration = 0.003
    vignette: Share = 0.3
    electrons: WellCharge = 2000
    read: ReadNoise = 4

    severities = MappingProxyType(
        {
            "aberration": (0.001, 0.002, 0.003, 0.004, 0.006),
            "vignette": (0.1, 0.2, 0.3, 0.4, 0.5),
            "electrons": (8000, 4000, 2000, 1000, 500),
            "read": (2, 3, 4, 6, 8),
        }
    )

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Photograph ``image``, with sensor noise from ``rng``."""
        light = self._through_lens(linear(image.numpy() / MAX_LEVEL))
        filters = _bayer(*light.shape[1:])
        charge = self.electrons * (light * filters).sum(axis=0)
        noise = torch.randn(charge.shape, generator=rng, dtype=torch.float64).numpy()
        sensed = (charge + np.sqrt(charge + self.read**2) * noise) / self.electrons
        return torch.from_numpy(MAX_LEVEL * encoded(_demosaiced(sensed, filters).clip(0, 1)))

    def _through_lens(self, light: Floats) -> Floats:
        centre = (np.array(light.shape[1:]) - 1) / 2
        magnifications = (1 + self.aberration, 1, 1 - self.aberration)
        drawn = []
        for channel, larger in zip(light, magnifications, strict=True):
            start = centre * (1 - 1 / larger)
            scaling = np.eye(2) / larger
            drawn.append(affine_transform(channel, scaling, start, order=1, mode="nearest"))
        rows, columns = np.ogrid[: light.shape[1], : light.shape[2]]
        square = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2
        return np.asarray(np.stack(drawn) * (1 - self.vignette * square / max(1, square.max())))


def linear(values: Floats) -> Floats:
    """Return the light of sRGB values, both in [0, 1].

    Args:
        values: sRGB values. Source: IEC 61966-2-1.

    Example:
        >>> linear(np.array([0.0, 0.5, 1.0])).round(3)
        array([0.   , 0.214, 1.   ])
    """
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(light: Floats) -> Floats:
    """Return the sRGB values of light, both in [0, 1]; the inverse of :func:`linear`.

    Args:
        light: linear values.

    Example:
        >>> encoded(np.array([0.0, 0.214, 1.0])).round(3)
        array([0. , 0.5, 1. ])
    """
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _bayer(height: int, width: int) -> npt.NDArray[np.bool_]:
    """Return which pixels see red, green and blue, ``(3, H, W)``."""
    rows, columns = np.ogrid[:height, :width]
    place = rows % 2 + columns % 2
    return np.stack([place == 0, place == 1, place == 2])


def _demosaiced(sensed: Floats, filters: npt.NDArray[np.bool_]) -> Floats:
    """Return each colour's mean over the neighbours that saw it.

    A pixel without such neighbours keeps what it sensed.
    """
    colours = []
    for seen in filters:
        total = convolve(sensed * seen, DEMOSAIC_KERNEL, mode="constant")
        weight = convolve(seen.astype(np.float64), DEMOSAIC_KERNEL, mode="constant")
        mean = np.divide(total, weight, out=sensed.copy(), where=weight > 0)
        colours.append(np.where(seen, sensed, mean))
    return np.stack(colours)
