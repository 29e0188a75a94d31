"""Brightness, contrast and saturation, as a photo editor changes them; factor 1 is the identity."""

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import Factor
from robustbench_aigi.imaging.arrays import Bytes, Floats, looked_up, rounded, row_parts

GREY_LEVELS = np.arange(256, dtype=np.float64)
"""All values of a pixel; what depends on the value alone is computed once for each."""
LUMA_WEIGHTS = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey. Source: ITU-R BT.601."""


@attacks.add("brightness")
@final
@dataclass(frozen=True, kw_only=True)
class Brightness(Perturbation):
    """Multiply every value by ``factor``; below 1 darkens. The severities are ours.

    Args:
        factor: 1 changes nothing.
    """

    factor: Factor = 1.25

    severities = MappingProxyType({"factor": (1.1, 1.25, 1.5, 1.75, 2.0)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Multiply the values of ``image``."""
        changed = _changed(image.numpy(), lambda channel: GREY_LEVELS * self.factor)
        return torch.from_numpy(changed)


@attacks.add("contrast")
@final
@dataclass(frozen=True, kw_only=True)
class Contrast(Perturbation):
    """Multiply every value's distance from its channel's mean by ``factor``.

    Source: Hendrycks & Dietterich, ICLR 2019, whose two mildest are the last two severities.

    Args:
        factor: 1 changes nothing, 0 leaves the mean.
    """

    factor: Factor = 0.7

    severities = MappingProxyType({"factor": (0.85, 0.7, 0.55, 0.4, 0.3)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Move the values of ``image`` towards their channel's mean."""
        return torch.from_numpy(_changed(image.numpy(), self._curve))

    def _curve(self, channel: Bytes) -> Floats:
        mean = channel.sum(dtype=np.int64) / channel.size
        curve: Floats = mean + self.factor * (GREY_LEVELS - mean)
        return curve


@attacks.add("saturation")
@final
@dataclass(frozen=True, kw_only=True)
class Saturation(Perturbation):
    """Multiply every colour's distance from its grey by ``factor``. The severities are ours.

    Args:
        factor: 1 changes nothing, 0 leaves grey.
    """

    factor: Factor = 0.6

    severities = MappingProxyType({"factor": (0.8, 0.6, 0.4, 0.2, 0.0)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Move the colours of ``image`` towards grey."""
        changed = np.empty_like(image.numpy())
        for rows in row_parts(*image.shape[1:]):
            changed[:, rows] = self._towards_grey(image.numpy()[:, rows])
        return torch.from_numpy(changed)

    def _towards_grey(self, channels: Bytes) -> Floats:
        values = channels.astype(np.float64, order="C")
        red, green, blue = (w * v for w, v in zip(LUMA_WEIGHTS, values, strict=True))
        grey = red + green + blue
        values -= grey
        values *= self.factor
        values += grey
        return rounded(values)


def _changed(image: Bytes, curve_of: Callable[[Bytes], Floats]) -> Bytes:
    """Return an image whose channels follow curves, each given at every grey level."""
    changed = np.empty_like(image)
    for channel, target in zip(image, changed, strict=True):
        target[:] = looked_up(channel, rounded(curve_of(channel)).astype(np.uint8))
    return changed
