"""Resizing down and up again."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import final

import numpy as np
import torch
from jaxtyping import Num, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.attacks._engine.batching import Bytes, interleaved
from robustbench_aigi.attacks.base import attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.units import PositiveShare
from robustbench_aigi.errors import ConfigError

PILLOW_FILTERS = {f.name.lower(): f for f in Image.Resampling}
"""Name of a resampling filter to Pillow's number of it."""


@attacks.add("resize")
@final
@dataclass(frozen=True, kw_only=True)
class Resize(Perturbation):
    """Reduce both sides to ``scale`` and enlarge back with a Pillow filter.

    Filters are antialiased when reducing. Source: Hendrycks & Dietterich, ICLR 2019, for the
    severities (their "pixelate" is ``filter="box"``).

    Args:
        scale: of each side, from 0 to 1.
        filter: a Pillow filter in lower case.
    """

    scale: PositiveShare = 0.5
    filter: str = "bilinear"

    severities = MappingProxyType({"scale": (0.6, 0.5, 0.4, 0.3, 0.25)})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.filter not in PILLOW_FILTERS:
            known = ", ".join(sorted(PILLOW_FILTERS))
            raise ConfigError(f"resize has no filter {self.filter!r}. Write one of {known}.")

    def change(self, image: UInt8[Tensor, "3 h w"], rng: torch.Generator) -> Num[Tensor, "3 h w"]:
        """Resample ``image`` down and up."""
        return self.change_all(image[None], iter([rng]))[0]

    def change_all(
        self,
        images: UInt8[Tensor, "n 3 h w"],
        rngs: Iterator[torch.Generator],
        room: Tensor | None = None,
    ) -> Num[Tensor, "n 3 h w"]:
        """Resample ``images`` down and up; ``rngs`` and ``room`` stay unused."""
        height, width = images.shape[2:]
        small = (max(1, round(height * self.scale)), max(1, round(width * self.scale)))
        return torch.from_numpy(resized(images.numpy(), [small, (height, width)], self.filter))


def resized(images: Bytes, sizes: Sequence[tuple[int, int]], kernel: str) -> Bytes:
    """Resample images to each of some sizes in turn, as Pillow does RGB images.

    Args:
        images: uint8 grey levels ``(N, 3, H, W)``.
        sizes: heights and widths.
        kernel: the name of a Pillow filter.

    Returns:
        Grey levels of the last size.
    """
    if kernel == "bilinear" and _all_dyadic([images.shape[2:], *sizes]):
        pixels = torch.from_numpy(images)
        for size in sizes:
            pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
        return pixels.numpy()
    out = np.empty((len(images), *sizes[-1], 3), np.uint8)
    for image, target in zip(images, out, strict=True):
        picture = Image.fromarray(interleaved(image))
        for height, width in sizes:
            picture = picture.resize((width, height), PILLOW_FILTERS[kernel])
        target[:] = np.asarray(picture)
    return out.transpose(0, 3, 1, 2)


def _all_dyadic(sizes: Sequence[Sequence[int]]) -> bool:
    """Whether every side changes by a power of two; then torch's fast weights are Pillow's."""
    for before, after in itertools.pairwise(sizes):
        if not (_dyadic(before[0], after[0]) and _dyadic(before[1], after[1])):
            return False
    return True


def _dyadic(before: int, after: int) -> bool:
    """Whether one side is the other times a power of two."""
    less, more = sorted((before, after))
    return more % less == 0 and (more // less).bit_count() == 1
