"""A screenshot: the image shown, captured and saved again."""

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.corruptions.jpeg import recompressed
from robustbench_aigi.attacks.corruptions.resize import resized
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import Gamma, QualityOrZero, ScreenOffset, Share, Zoom
from robustbench_aigi.imaging.arrays import Bytes, Floats, row_parts
from robustbench_aigi.imaging.pixels import MAX_LEVEL
from robustbench_aigi.imaging.sampling import sampled, taps
from robustbench_aigi.imaging.tone_curve import ToneCurve


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

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Capture ``image`` at an offset from ``rng``."""
        _, height, width = image.shape
        offsets = self.offset * (2 * torch.rand(2, generator=rng, dtype=torch.float64).numpy() - 1)
        screen = (max(1, round(height * self.zoom)), max(1, round(width * self.zoom)))
        shown = resized(image.numpy()[None], [screen], "bicubic")[0]
        captured = self._captured(shown, offsets)
        saved = torch.from_numpy(resized(captured[None], [(height, width)], "bicubic")[0])
        return recompressed(saved[None], self.quality)[0] if self.quality else saved

    def _captured(self, shown: Bytes, offsets: Floats) -> Bytes:
        """Return the screen's pixels, off the grid and in its colours."""
        height, width = shown.shape[1:]
        margin = int(self.offset) + 2
        rows = taps(np.arange(height) - offsets[0], height, margin)
        columns = taps(np.arange(width) - offsets[1], width, margin)
        captured = np.empty_like(shown)
        for channel, target, tone in zip(shown, captured, self._tones(), strict=True):
            light = np.pad(channel, margin, mode="edge") / MAX_LEVEL
            for part in row_parts(height, width):
                target[part] = tone.levels(sampled(light, rows.part(part), columns))
        return captured

    def _tones(self) -> tuple[ToneCurve, ...]:
        """Return the tone curves of red, green and blue."""
        tints = (1 + self.warmth, 1.0, 1 - self.warmth)
        return tuple(ToneCurve(partial(_toned, tint=tint, gamma=self.gamma)) for tint in tints)


def _toned(values: Floats, tint: float, gamma: float) -> Floats:
    return np.minimum(tint * values**gamma, 1)
