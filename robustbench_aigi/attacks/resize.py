"""Down and up again."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.attacks.base import Budget, Perturbation, attacks
from robustbench_aigi.errors import BadConfig

FILTERS = {f.name.lower(): f for f in Image.Resampling}


@attacks.add("resize")
@final
@dataclass(frozen=True, kw_only=True)
class Resize(Perturbation):
    """Reduce both sides to ``scale`` and enlarge back with a Pillow filter (antialiased when reducing)."""

    scale: float = 0.5
    filter: str = "bilinear"

    def __post_init__(self) -> None:
        if self.filter not in FILTERS:
            raise BadConfig(f"resize has no filter {self.filter!r}. Write one of {', '.join(sorted(FILTERS))}.")
        if not 0 < self.scale <= 1:
            raise BadConfig(
                f"resize wants a scale above 0 and at most 1, got {self.scale}. Write 0.5 for half the side."
            )

    def budget(self) -> Budget:
        """None: resampling keeps no norm."""
        return Budget()

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Resample one image down and up."""
        pixels = Image.fromarray(image.to(torch.uint8).permute(1, 2, 0).numpy())
        small = (max(1, round(pixels.width * self.scale)), max(1, round(pixels.height * self.scale)))
        back = pixels.resize(small, FILTERS[self.filter]).resize(pixels.size, FILTERS[self.filter])
        return torch.from_numpy(np.array(back, dtype=np.float64)).permute(2, 0, 1)
