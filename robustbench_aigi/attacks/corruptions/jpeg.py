"""JPEG compression."""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import torch
from imagecodecs import jpeg8_decode, jpeg8_encode
from jaxtyping import Num, UInt8
from torch import Tensor

from robustbench_aigi.attacks._engine.batching import interleaved
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import Quality


@attacks.add("jpeg")
@final
@dataclass(frozen=True, kw_only=True)
class JPEG(Perturbation):
    """Compress and decompress as JPEG at ``quality`` (1 to 100), chroma halved (4:2:0).

    libjpeg-turbo does it, so the bytes are Pillow's. Source: Hendrycks & Dietterich, ICLR 2019,
    whose mildest quality is the fifth severity here; sites use the others.

    Args:
        quality: as libjpeg counts it.
    """

    quality: Quality = 75

    severities = MappingProxyType({"quality": (90, 75, 60, 40, 25)})

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Encode and decode ``image``."""
        return recompressed(image[None], self.quality)[0]

    def change_all(
        self,
        images: UInt8[Tensor, "n 3 h w"],
        rngs: Iterator[torch.Generator],
        room: Tensor | None = None,
    ) -> Num[Tensor, "n 3 h w"]:
        """Encode and decode ``images``, into ``room`` where that works.

        ``rngs`` stay unused: at 32 x 32 making a generator costs as much as decoding.
        """
        return recompressed(images, self.quality, room)


def recompressed(images: Tensor, quality: int, room: Tensor | None = None) -> Tensor:
    """Encode and decode images as JPEG.

    Args:
        images: uint8 grey levels ``(N, 3, H, W)``.
        quality: 1 to 100.
        room: uint8 memory of the same shape, used for the result if it goes pixel by pixel.
    """
    pixels = None if room is None else room.permute(0, 2, 3, 1)
    if pixels is None or not pixels.is_contiguous():
        pixels = torch.empty((len(images), *images.shape[2:], 3), dtype=torch.uint8)
    for image, target in zip(images.numpy(), pixels.numpy(), strict=True):
        file = jpeg8_encode(interleaved(image), level=quality, colorspace="RGB", subsampling="420")
        jpeg8_decode(file, out=target)
    return pixels.permute(0, 3, 1, 2)
