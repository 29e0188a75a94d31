"""WebP compression."""

import io
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from PIL import Image
from torch import Tensor

from robustbench_aigi.attacks._engine.batching import interleaved
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import QualityOrZero


@attacks.add("webp")
@final
@dataclass(frozen=True, kw_only=True)
class WebP(Perturbation):
    """Compress and decompress with Pillow's lossy WebP at ``quality`` (0 to 100).

    The severities are ours.

    Args:
        quality: as libwebp counts it.
    """

    quality: QualityOrZero = 75

    severities = MappingProxyType({"quality": (90, 75, 60, 40, 20)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Encode and decode ``image``."""
        file = io.BytesIO()
        Image.fromarray(interleaved(image.numpy())).save(file, format="WEBP", quality=self.quality)
        with Image.open(file) as decoded:
            return torch.from_numpy(np.array(decoded)).permute(2, 0, 1)
