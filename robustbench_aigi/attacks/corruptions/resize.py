"""Down and up again."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.attacks._engine.batching import Bytes, interleaved
from robustbench_aigi.attacks.base import Perturbation, attacks
from robustbench_aigi.config.units import PositiveShare
from robustbench_aigi.errors import ConfigError

FILTERS = {f.name.lower(): f for f in Image.Resampling}


@attacks.add("resize")
@final
@dataclass(frozen=True, kw_only=True)
class Resize(Perturbation):
    """Reduce both sides to ``scale`` and enlarge back with a Pillow filter (antialiased when
    reducing).

    Source: Hendrycks & Dietterich, ICLR 2019, for the severities (their "pixelate" is
        ``filter="box"``).
    """

    scale: PositiveShare = 0.5
    filter: str = "bilinear"

    severities = MappingProxyType({"scale": (0.6, 0.5, 0.4, 0.3, 0.25)})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.filter not in FILTERS:
            raise ConfigError(
                f"resize has no filter {self.filter!r}. Write one of {', '.join(sorted(FILTERS))}."
            )

    def change(self, image: Tensor, rng: torch.Generator) -> Tensor:
        """Resample one image down and up."""
        return self.change_all(image[None], iter([rng]))[0]

    def change_all(
        self, images: Tensor, rngs: Iterator[torch.Generator], room: Tensor | None = None
    ) -> Tensor:
        """Resample a batch down and up."""
        height, width = images.shape[2:]
        small = (max(1, round(height * self.scale)), max(1, round(width * self.scale)))
        return torch.from_numpy(resized(images.numpy(), [small, (height, width)], self.filter))


def resized(images: Bytes, sizes: Sequence[tuple[int, int]], kernel: str) -> Bytes:
    """Resample grey levels ``(N, 3, H, W)`` to each of some heights and widths in turn, as Pillow
    does RGB images.

    Args:
        kernel: the name of a Pillow filter.
    """
    steps = itertools.pairwise([images.shape[2:], *sizes])
    if kernel == "bilinear" and all(
        _dyadic(*sides) for step in steps for sides in zip(*step, strict=True)
    ):
        pixels = torch.from_numpy(images)
        for size in sizes:
            pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        return pixels.numpy()
    out = np.empty((len(images), *sizes[-1], 3), np.uint8)
    for image, target in zip(images, out, strict=True):
        picture = Image.fromarray(interleaved(image))
        for height, width in sizes:
            picture = picture.resize((width, height), FILTERS[kernel])
        target[:] = np.asarray(picture)
    return out.transpose(0, 3, 1, 2)


def _dyadic(before: int, after: int) -> bool:
    """Whether one side is the other times a power of two: then torch's fast weights are exact, and
    Pillow's.
    """
    less, more = sorted((before, after))
    return more % less == 0 and (more // less).bit_count() == 1
