"""PGD in a band of frequencies."""

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from robustbench_aigi.attacks._engine.norm_balls import L2Ball, scaled
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.gradient.pgd import PGD
from robustbench_aigi.config.units import L2Step, Share
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.imaging.dct import dct_matrix


@attacks.add("dct-pgd")
@final
@dataclass(frozen=True, kw_only=True)
class DCTPGD(L2Ball, PGD):
    """PGD in the L2 ball whose steps hold only a band of the whole image's DCT.

    Rounding to grey levels and the ends of the pixel range spread a little of the change over other
    frequencies. Source: Duan et al., AdvDrop, ICCV 2021, for attacks in the DCT domain.

    Args:
        low, high: the band, as shares of the highest frequency; a coefficient's frequency is the
            larger of its two.
    """

    step: L2Step = 0.25
    low: Share = 0.0
    high: Share = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ConfigError(
                f"dct-pgd wants low at most as large as high, got low = {self.low} and high ="
                f" {self.high}. Between them is no frequency; swap them."
            )

    def start(self, like: Tensor, rng: torch.Generator) -> Tensor:
        """Uniform in the ball, then cut to the band."""
        return self.band(super().start(like, rng))

    def steepest_step(self, gradient: Tensor) -> Tensor:
        """The slope's part in the band, one level long."""
        return scaled(self.band(gradient), 1.0)

    def band(self, values: Tensor) -> Tensor:
        """The part of ``(..., H, W)`` values whose frequencies are in the band."""
        rows, columns = (dct_matrix(size).to(values.dtype) for size in values.shape[-2:])
        height, width = frequencies(len(rows)), frequencies(len(columns))
        frequency = torch.maximum(height[:, None], width[None, :])
        kept = (frequency >= self.low) & (frequency <= self.high)
        cut: Tensor = rows.T @ ((rows @ values @ columns.T) * kept) @ columns
        return cut


def frequencies(size: int) -> Tensor:
    """Share of the highest frequency of each coefficient."""
    return torch.arange(size) / max(1, size - 1)
