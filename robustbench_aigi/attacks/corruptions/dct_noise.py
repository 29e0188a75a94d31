"""Noise in the frequency domain."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Num, UInt8
from torch import Tensor

from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import LinfRadius
from robustbench_aigi.imaging.dct import dct_matrix

BLOCK_SIDE = 8
"""Pixels on a side of a block, as in JPEG."""
CACHED_VALUES = 2**14
"""Most values transformed at a time, so that they stay in a core's cache."""
DCT_MATRIX = dct_matrix(BLOCK_SIDE).numpy()
"""Orthonormal DCT of one block's rows."""


@attacks.add("dct-noise")
@final
@dataclass(frozen=True, kw_only=True)
class DCTNoise(Perturbation):
    """Uniform noise of amplitude ``eps`` grey levels on the DCT coefficients of every 8 x 8 block.

    The DCT is orthonormal and keeps the L2 norm, so the change's RMS is near ``eps`` / sqrt(3).
    Source: the CIFAKE++ study's frequency-domain perturbation (eps 5 and 15).

    Args:
        eps: amplitude in grey levels.
    """

    eps: LinfRadius = 5

    severities = MappingProxyType({"eps": (2.5, 5, 10, 15, 30)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Add noise from ``rng`` to ``image``."""
        return self.change_all(image[None], iter([rng]))[0]

    def change_all(
        self,
        images: UInt8[Tensor, "n 3 h w"],
        rngs: Iterator[torch.Generator],
        room: Tensor | None = None,
    ) -> Num[Tensor, "n 3 h w"]:
        """Add noise from ``rngs`` to ``images``; ``room`` is not used.

        The DCT is linear, so only the noise is transformed; blocks that stick out are cut off.
        """
        count, channels, height, width = images.shape
        rows = -(-height // BLOCK_SIDE)
        columns = -(-width // BLOCK_SIDE)
        shape = (count, channels, rows, BLOCK_SIDE, columns, BLOCK_SIDE)
        noise = torch.empty(shape, dtype=torch.float64)
        for blocks, rng in zip(noise, rngs, strict=True):
            torch.rand(blocks.shape, generator=rng, dtype=torch.float64, out=blocks)
        self._transform(noise.numpy().reshape(-1, BLOCK_SIDE * columns, BLOCK_SIDE))
        whole = noise.numpy().reshape(count, channels, BLOCK_SIDE * rows, BLOCK_SIDE * columns)
        pixels = whole[..., :height, :width]
        pixels += images.numpy()
        return torch.from_numpy(pixels)

    def _transform(self, lines: npt.NDArray[np.float64]) -> None:
        """Turn draws in [0, 1), one row of blocks per line, into pixels in place.

        Each product is of one row of blocks: its last bits may depend on its shape, which the batch
        must not change.
        """
        step = max(1, CACHED_VALUES // lines[0].size)
        for start in range(0, len(lines), step):
            few = lines[start : start + step]
            few *= 2
            few -= 1
            few *= self.eps
            across = np.matmul(few, DCT_MATRIX).reshape(len(few), BLOCK_SIDE, -1)
            np.matmul(DCT_MATRIX.T, across, out=few.reshape(across.shape))
