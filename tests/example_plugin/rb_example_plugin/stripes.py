"""An attack: vertical stripes."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks import Perturbation
from robustbench_aigi.config.units import LinfRadius


@final
@dataclass(frozen=True, kw_only=True)
class VerticalStripes(Perturbation):
    """Add ``amplitude`` grey levels to every second column, from the first or the second on.

    Source: this example.
    """

    amplitude: LinfRadius = 4

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Add stripes to one image; ``rng`` draws which column is the first."""
        first = int(torch.randint(2, (), generator=rng))
        striped = image.float()
        striped[..., first::2] += self.amplitude
        return striped.clamp(0, 255)
