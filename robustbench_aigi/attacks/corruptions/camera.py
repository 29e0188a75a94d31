"""A camera: the image photographed again."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import Aberration, ReadNoise, Share, WellCharge
from robustbench_aigi.imaging.arrays import Bytes, Floats, looked_up, row_parts
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.imaging.sampling import Taps, sampled, taps
from robustbench_aigi.imaging.tone_curve import ToneCurve


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

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Photograph ``image``, with sensor noise from ``rng``."""
        charge = self._mosaic(image.numpy())
        charge *= self.electrons
        noise = torch.randn(charge.shape, generator=rng, dtype=torch.float64).numpy()
        noise *= np.sqrt(charge + self.read**2)
        charge += noise
        charge /= self.electrons
        return torch.from_numpy(_developed(charge))

    def _mosaic(self, image: Bytes) -> Floats:
        """Return the light that each pixel of the sensor sees through its filter, ``(H, W)``."""
        curve = linear(np.arange(MAX_LEVEL + 1) / MAX_LEVEL)
        mosaic = looked_up(image[1], curve)
        for first, channel, larger in (
            (0, image[0], 1 + self.aberration),
            (1, image[2], 1 - self.aberration),
        ):
            light = looked_up(channel, curve)
            rows, columns = (_magnified(first, size, larger) for size in light.shape)
            own = mosaic[first::2, first::2]
            for part in row_parts(*own.shape):
                own[part] = sampled(light, rows.part(part), columns)
        self._darken_corners(mosaic)
        return mosaic

    def _darken_corners(self, light: Floats) -> None:
        rows, columns = (np.square(np.arange(size) - (size - 1) / 2) for size in light.shape)
        furthest = max(1, rows.max() + columns.max())
        for part in row_parts(*light.shape):
            light[part] *= 1 - self.vignette * (rows[part, None] + columns) / furthest


def _magnified(first: int, size: int, larger: float) -> Taps:
    """Return where every other pixel of an axis, from a first one, is seen through the lens."""
    start = (size - 1) / 2 * (1 - 1 / larger)
    pixels = np.arange(first, size, 2, dtype=np.float64)
    return taps(pixels * (1 / larger) + start, size)


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


DISPLAY_CURVE = ToneCurve(encoded)
"""From light to grey levels."""


def _developed(sensed: Floats) -> Bytes:
    """Return the image of a sensor's light, ``(3, H, W)``.

    A pixel gets the mean of each colour over the neighbours that saw it; without such neighbours it
    keeps what it sensed.
    """
    height, width = sensed.shape
    padded = np.pad(sensed, 1)
    image = np.empty((3, height, width), np.uint8)
    across, down = (_neighbours(size) for size in (width, height))
    for pair in row_parts(-(-height // 2), 2 * width):
        rows = slice(2 * pair.start, min(2 * pair.stop, height))
        window = padded[rows.start : rows.stop + 2]
        for colour, target in zip(_demosaiced(window, across, down[rows]), image, strict=True):
            target[rows] = DISPLAY_CURVE.levels(colour.clip(0, 1, out=colour))
    return image


def _neighbours(size: int) -> Floats:
    """Return how many neighbours each pixel of an axis has."""
    places = np.arange(size)
    return (places > 0).astype(np.float64) + (places < size - 1)


def _demosaiced(window: Floats, across: Floats, down: Floats) -> tuple[Floats, Floats, Floats]:
    """Return red, green and blue of some rows, from an even one on.

    Args:
        window: the rows, and one pixel more on each side.
        across: neighbours of each column.
        down: neighbours of each row.
    """
    sensed = window[1:-1, 1:-1]
    above = window[:-2]
    middle = window[1:-1]
    below = window[2:]
    beside = _mean(middle[:, :-2] + middle[:, 2:], across[None], sensed)
    upright = _mean(above[:, 1:-1] + below[:, 1:-1], down[:, None], sensed)
    corners = above[:, :-2] + above[:, 2:] + below[:, :-2] + below[:, 2:]
    diagonal = _mean(corners, down[:, None] * across, sensed)
    cross = above[:, 1:-1] + middle[:, :-2] + middle[:, 2:] + below[:, 1:-1]
    around = _mean(cross, down[:, None] + across, sensed)
    even = slice(0, None, 2)
    odd = slice(1, None, 2)
    red, green, blue = (sensed.copy() for _ in range(3))
    green[even, even] = around[even, even]
    green[odd, odd] = around[odd, odd]
    for colour, own, other in ((red, even, odd), (blue, odd, even)):
        colour[own, other] = beside[own, other]
        colour[other, own] = upright[other, own]
        colour[other, other] = diagonal[other, other]
    return red, green, blue


def _mean(total: Floats, count: Floats, sensed: Floats) -> Floats:
    """Return the mean of neighbours of this total and count; what was sensed where none are."""
    if count.all():
        return np.divide(total, count, out=total)
    return np.divide(total, count, out=sensed.copy(), where=count > 0)
