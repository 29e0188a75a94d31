"""Noise in the frequency domain."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from robustbench_aigi.attacks.base import Perturbation, attacks
from robustbench_aigi.config.units import LinfRadius
from robustbench_aigi.imaging.dct import dct_matrix

BLOCK = 8
CACHED = 2**14
DCT = dct_matrix(BLOCK).numpy()


@attacks.add("dct-noise")
@final
@dataclass(frozen=True, kw_only=True)
class DCTNoise(Perturbation):
    """Uniform noise of amplitude ``eps`` grey levels on the coefficients of every 8 x 8 block's
    orthonormal DCT.

    The DCT keeps the L2 norm, so the change's RMS is near ``eps`` / sqrt(3).
    Source: the CIFAKE++ study's frequency-domain perturbation (eps 5 and 15).
    """

    eps: LinfRadius = 5

    severities = MappingProxyType({"eps": (2.5, 5, 10, 15, 30)})

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Add the noise to one image."""
        return self.change_all(image[None], iter([rng]))[0]

    def change_all(
        self, images: Tensor, rngs: Iterator[torch.Generator], room: Tensor | None = None
    ) -> Tensor:
        """Add the noise. The DCT is linear, so only the noise is transformed; blocks that stick out
        are cut off.
        """
        count, channels, height, width = images.shape
        rows, columns = -(-height // BLOCK), -(-width // BLOCK)
        noise = torch.empty((count, channels, rows, BLOCK, columns, BLOCK), dtype=torch.float64)
        for blocks, rng in zip(noise, rngs, strict=True):
            torch.rand(blocks.shape, generator=rng, dtype=torch.float64, out=blocks)
        self._transform(noise.numpy().reshape(-1, BLOCK * columns, BLOCK))
        pixels = noise.numpy().reshape(count, channels, BLOCK * rows, BLOCK * columns)[
            ..., :height, :width
        ]
        pixels += images.numpy()
        return torch.from_numpy(pixels)

    def _transform(self, lines: npt.NDArray[np.float64]) -> None:
        """Turn draws in [0, 1), a row of blocks each, into pixels in place, as many as a core's
        cache holds at a time.

        Products are of one row of blocks: their last bits may depend on their shape, which the
            batch must not change.
        """
        step = max(1, CACHED // lines[0].size)
        for start in range(0, len(lines), step):
            few = lines[start : start + step]
            few *= 2
            few -= 1
            few *= self.eps
            across = np.matmul(few, DCT).reshape(len(few), BLOCK, -1)
            np.matmul(DCT.T, across, out=few.reshape(across.shape))
