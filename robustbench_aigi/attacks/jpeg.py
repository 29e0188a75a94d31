"""JPEG compression."""

import io
from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.attacks.base import Budget, Perturbation, attacks


@attacks.add("jpeg")
@final
@dataclass(frozen=True, kw_only=True)
class JPEG(Perturbation):
    """Compress and decompress with Pillow's libjpeg-turbo at ``quality`` (1 to 95), chroma halved (4:2:0)."""

    quality: int = 75

    def budget(self) -> Budget:
        """None: a codec keeps no norm."""
        return Budget()

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Encode and decode one image."""
        file = io.BytesIO()
        pixels = Image.fromarray(image.to(torch.uint8).permute(1, 2, 0).numpy())
        pixels.save(file, format="JPEG", quality=self.quality, subsampling="4:2:0")
        with Image.open(file) as decoded:
            return torch.from_numpy(np.array(decoded, dtype=np.float64)).permute(2, 0, 1)
