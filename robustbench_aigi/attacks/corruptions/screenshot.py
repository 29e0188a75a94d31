"""A screenshot: the image shown, captured and saved again."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from scipy.ndimage import shift
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.corruptions.jpeg import recompressed
from robustbench_aigi.attacks.corruptions.resize import resized
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import Gamma, QualityOrZero, ScreenOffset, Share, Zoom
from robustbench_aigi.imaging.pixels import MAX_LEVEL


@attacks.add("screenshot")
@final
@dataclass(frozen=True, kw_only=True)
class Screenshot(Perturbation):
    """Show the image on a screen, and capture, reduce and save it.

    It is drawn at the screen's scale, off the screen's pixels and in its colours. Resampling is
    bicubic to the screen and back, linear for the shift. The chain and its severities are ours.

    Args:
        zoom: screen pixels per image pixel.
        offset: maximum screen pixels between image and screen grid, in each direction; drawn for
            each image.
        gamma: exponent of the screen's tones; above 1 darkens.
        warmth: how much red is raised and blue lowered, as a share.
        quality: of the JPEG it is saved as; 0 for PNG.
    """

    zoom: Zoom = 1.25
    offset: ScreenOffset = 0.5
    gamma: Gamma = 1.1
    warmth: Share = 0.03
    quality: QualityOrZero = 90

    severities = MappingProxyType(
        {
            "zoom": (2.0, 1.5, 1.25, 0.8, 0.6),
            "offset": (0.2, 0.3, 0.5, 0.5, 0.5),
            "gamma": (1.02, 1.05, 1.1, 1.15, 1.2),
            "warmth": (0.01, 0.02, 0.03, 0.04, 0.05),
            "quality": (0, 95, 90, 80, 70),
        }
    )

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Capture ``image`` at an offset from ``rng``."""
        _, height, width = image.shape
        offsets = self.offset * (2 * torch.rand(2, generator=rng, dtype=torch.float64).numpy() - 1)
        screen = (max(1, round(height * self.zoom)), max(1, round(width * self.zoom)))
        shown = resized(image.numpy()[None], [screen], "bicubic")[0] / MAX_LEVEL
        moved = shift(shown, (0, *offsets), order=1, mode="nearest")
        tint = np.array([1 + self.warmth, 1, 1 - self.warmth]).reshape(3, 1, 1)
        captured = np.rint(MAX_LEVEL * (tint * moved**self.gamma).clip(0, 1)).astype(np.uint8)
        saved = torch.from_numpy(resized(captured[None], [(height, width)], "bicubic")[0])
        return recompressed(saved[None], self.quality)[0] if self.quality else saved
