"""An image that is posted, saved and posted again."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from torch import Tensor

from robustbench_aigi.attacks._engine.batching import Bytes
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.corruptions.jpeg import recompressed
from robustbench_aigi.attacks.corruptions.resize import resized
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import Quality, Rounds, ScaleShare

BLOCK_SIDE = 8
"""Pixels on a side of a JPEG block."""
QUALITY_SPREAD = 10
"""Most that a drawn quality differs from ``quality``."""


@attacks.add("recompression")
@final
@dataclass(frozen=True, kw_only=True)
class Recompression(Perturbation):
    """Social media in ``rounds``, each of which resizes and compresses the image.

    A round resizes by Lanczos, moves the grid of 8 x 8 blocks and compresses as JPEG. The last
    result is enlarged back. The chain and its severities are ours.

    Args:
        rounds: number of posts; those of fewer rounds are the first of more.
        quality: middle of the JPEG qualities; each is drawn within 10 of it.
        scale: smallest size, as a share of the image's own; each is drawn between it and 1.
    """

    rounds: Rounds = 3
    quality: Quality = 75
    scale: ScaleShare = 0.75

    severities = MappingProxyType(
        {
            "rounds": (1, 2, 3, 4, 6),
            "quality": (85, 80, 75, 65, 55),
            "scale": (0.9, 0.8, 0.75, 0.65, 0.5),
        }
    )

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Post ``image`` again and again, with draws from ``rng``."""
        pixels = image.numpy()
        height, width = image.shape[1:]
        for draws in torch.rand((self.rounds, 4), generator=rng, dtype=torch.float64).tolist():
            scale = self.scale + (1 - self.scale) * draws[0]
            size = (max(1, round(height * scale)), max(1, round(width * scale)))
            quality = min(100, max(1, round(self.quality + QUALITY_SPREAD * (2 * draws[1] - 1))))
            posted = resized(pixels[None], [size], "lanczos")[0]
            above, before = (int(BLOCK_SIDE * draw) for draw in draws[2:])
            pixels = _recompressed(posted, quality, above, before)
        return torch.from_numpy(resized(pixels[None], [(height, width)], "lanczos")[0])


def _recompressed(pixels: Bytes, quality: int, above: int, before: int) -> Bytes:
    """Recompress an image whose blocks start ``above`` rows and ``before`` columns outside it."""
    framed = np.pad(pixels, ((0, 0), (above, 0), (before, 0)), mode="edge")
    return recompressed(torch.from_numpy(framed[None]), quality)[0].numpy()[:, above:, before:]
