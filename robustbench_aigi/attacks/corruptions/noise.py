"""Noise on pixels."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import LinfRadius, Share
from robustbench_aigi.imaging.arrays import rounded, row_parts
from robustbench_aigi.imaging.pixels import MAX_LEVEL


@attacks.add("gaussian-noise")
@final
@dataclass(frozen=True, kw_only=True)
class GaussianNoise(Perturbation):
    """Add independent Gaussian noise of ``sigma`` grey levels to every value.

    Source: Hendrycks & Dietterich, ICLR 2019, whose three mildest are the last three severities.

    Args:
        sigma: standard deviation in grey levels.
    """

    sigma: LinfRadius = 10

    severities = MappingProxyType({"sigma": (5, 10, 20.4, 30.6, 45.9)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Add noise from ``rng`` to ``image``."""
        noise = torch.randn(image.shape, generator=rng, dtype=torch.float64).numpy()
        changed = np.empty_like(image.numpy())
        for channel, own, target in zip(image.numpy(), noise, changed, strict=True):
            for part in row_parts(*channel.shape):
                target[part] = rounded(channel[part] + self.sigma * own[part])
        return torch.from_numpy(changed)


@attacks.add("impulse-noise")
@final
@dataclass(frozen=True, kw_only=True)
class ImpulseNoise(Perturbation):
    """Set a ``share`` of the values, drawn at random, to 0 or 255.

    Source: Hendrycks & Dietterich, ICLR 2019, whose four mildest are the last four severities.

    Args:
        share: of the values, from 0 to 1.
    """

    share: Share = 0.03

    severities = MappingProxyType({"share": (0.01, 0.03, 0.06, 0.09, 0.17)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Set values of ``image`` drawn by ``rng``."""
        changed = image.numpy().copy()
        for channel in changed:
            for part in row_parts(*channel.shape):
                few = channel[part]
                draws = torch.rand(few.shape, generator=rng, dtype=torch.float64).numpy()
                np.copyto(few, MAX_LEVEL, where=draws >= 1 - self.share / 2)
                np.copyto(few, 0, where=draws < self.share / 2)
        return torch.from_numpy(changed)
