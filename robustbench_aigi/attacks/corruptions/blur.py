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
        pixels = image.numpy().astype(np.float64)
        return torch.from_numpy(
            gaussian_filter(pixels, sigma=(0, self.sigma, self.sigma), mode="reflect")
        )
