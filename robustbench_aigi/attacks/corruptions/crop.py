"""A part of the image, back at the size of the whole."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.corruptions.resize import resized
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import CutShare
from robustbench_aigi.errors import ConfigError

PAD_MODES = {"black": "constant", "mirror": "symmetric"}
"""Fill to numpy's name of it."""


@attacks.add("crop")
@final
@dataclass(frozen=True, kw_only=True)
class Crop(Perturbation):
    """Cut a window out at a random position, and fill the frame around it.

    The severities are ours.

    Args:
        cut: share of each side that is cut away.
        fill: ``black`` or ``mirror`` puts the window in the middle and pads; ``stretch`` enlarges
            it (bicubic).
    """

    cut: CutShare = 0.1
    fill: str = "black"

    severities = MappingProxyType({"cut": (0.05, 0.1, 0.2, 0.3, 0.4)})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fill not in {*PAD_MODES, "stretch"}:
            raise ConfigError(f"crop has no fill {self.fill!r}. Write black, mirror or stretch.")

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Cut a window out of ``image`` at a position from ``rng``, and fill up the frame."""
        _, height, width = image.shape
        places = torch.rand(2, generator=rng, dtype=torch.float64).tolist()
        rows, columns = (max(1, round(side * (1 - self.cut))) for side in (height, width))
        top = int(places[0] * (height - rows + 1))
        left = int(places[1] * (width - columns + 1))
        window = image.numpy()[:, top : top + rows, left : left + columns]
        if self.fill == "stretch":
            return torch.from_numpy(resized(window[None], [(height, width)], "bicubic")[0])
        above = (height - rows) // 2
        before = (width - columns) // 2
        frame = ((0, 0), (above, height - rows - above), (before, width - columns - before))
        return torch.from_numpy(np.pad(window, frame, mode=PAD_MODES[self.fill]))  # type: ignore[call-overload]
