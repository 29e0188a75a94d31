"""Noise in the frequency domain."""

from dataclasses import dataclass
from typing import final

import numpy as np
import torch
from scipy.fft import dctn, idctn
from torch import Tensor

from robustbench_aigi.attacks.base import Budget, Perturbation, attacks

BLOCK = 8


@attacks.add("dct-noise")
@final
@dataclass(frozen=True, kw_only=True)
class DCTNoise(Perturbation):
    """Uniform noise of amplitude ``eps`` grey levels on the coefficients of every 8 x 8 block's orthonormal DCT.

    Source: the CIFAKE++ study's frequency-domain perturbation (eps 5 and 15).
    """

    eps: float = 5

    def budget(self) -> Budget:
        """None per pixel: an orthonormal DCT keeps the L2 norm, so the change's RMS is near ``eps`` / sqrt(3)."""
        return Budget()

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Add the noise; sides that are no multiple of 8 are mirrored out to one and cut back."""
        channels, height, width = image.shape
        padded = np.pad(image.numpy(), ((0, 0), (0, -height % BLOCK), (0, -width % BLOCK)), mode="symmetric")
        rows, columns = padded.shape[1] // BLOCK, padded.shape[2] // BLOCK
        blocks = padded.reshape(channels, rows, BLOCK, columns, BLOCK)
        noise = (torch.rand(blocks.shape, generator=rng, dtype=torch.float64) * 2 - 1).numpy() * self.eps
        changed = idctn(dctn(blocks, axes=(2, 4), norm="ortho") + noise, axes=(2, 4), norm="ortho")
        return torch.from_numpy(changed.reshape(padded.shape)[:, :height, :width].copy())
