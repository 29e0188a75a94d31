"""PGD in a band of frequencies."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
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
        step: length of a step, in the [0, 1]-pixel norm.
        low: lower end of the band, as a share of the highest frequency.
        high: upper end of the band. A coefficient's frequency is the larger of its two.
    """

    step: L2Step = 0.25
    low: Share = 0.0
    high: Share = 0.5

    covers_whole_ball = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise ConfigError(
                f"dct-pgd: low must not exceed high, got low = {self.low} and high = {self.high}."
                " Swap them."
            )

    def random_change(
        self, like: Float[Tensor, "3 h w"], rng: torch.Generator
    ) -> Float[Tensor, "3 h w"]:
        """Return the band of a change like ``like`` drawn uniformly in the ball from ``rng``."""
        return self.band(super().random_change(like, rng))

    def steepest_step(self, gradient: Float[Tensor, "m 3 h w"]) -> Float[Tensor, "m 3 h w"]:
        """Return the band of ``gradient``, scaled to one grey level."""
        return scaled(self.band(gradient), 1.0)

    def band(self, values: Tensor) -> Tensor:
        """Return the part of ``(..., H, W)`` values whose frequencies are in the band.

        Args:
            values: images, changes or gradients.
        """
        rows, columns = (dct_matrix(size).to(values) for size in values.shape[-2:])
        row_frequencies = frequencies(len(rows))[:, None]
        column_frequencies = frequencies(len(columns))[None, :]
        frequency = torch.maximum(row_frequencies, column_frequencies)
        kept = ((frequency >= self.low) & (frequency <= self.high)).to(values.device)
        cut: Tensor = rows.T @ ((rows @ values @ columns.T) * kept) @ columns
        return cut


def frequencies(size: int) -> Tensor:
    """Return the frequency of each coefficient as a share of the highest one.

    Args:
        size: number of coefficients.

    Example:
        >>> frequencies(5)
        tensor([0.0000, 0.2500, 0.5000, 0.7500, 1.0000])
    """
    return torch.arange(size) / max(1, size - 1)
