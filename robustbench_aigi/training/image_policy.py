"""How images of any size become training images of one size."""

from typing import Literal

import numpy as np
import torch
from jaxtyping import UInt8
from pydantic import BaseModel
from torch import Tensor

from robustbench_aigi.attacks.corruptions.jpeg import JPEG
from robustbench_aigi.config.units import ImageSide, Share
from robustbench_aigi.data.decoding import Rows

JPEG_QUALITIES = (30, 100)
"""Lowest and highest quality of a training image that is saved again."""
SCALE_RANGE = (0.5, 1.5)
"""Smallest and largest factor of a training image that is resized."""

Fit = Literal["crop", "resize", "pad"]


class ImagePolicy(BaseModel, frozen=True, extra="forbid"):
    """How an image of any size becomes one of ``size`` x ``size`` pixels.

    A part is drawn at random for training, and taken from the middle otherwise. JPEG and resize
    come before the cut, as they do to images on the way to a detector. Source: Wang et al.,
    CNN-generated images are surprisingly easy to spot, CVPR 2020.

    Attributes:
        size: height and width of the result, in pixels.
        fit: ``crop`` cuts a part, and mirrors the borders of smaller images; ``resize`` first
            resizes the short side to ``size``; ``pad`` first resizes the long side, and fills up
            with black.
        jpeg: share of the training images that are saved again as JPEG.
        rescale: share of the training images that are reduced or enlarged first.
    """

    size: ImageSide
    fit: Fit = "crop"
    jpeg: Share = 0.0
    rescale: Share = 0.0

    def training_view(self, image: Rows, rng: torch.Generator) -> UInt8[Tensor, "3 size size"]:
        """Return a random view.

        Args:
            image: uint8 ``(H, W, 3)``.
            rng: CPU generator of all draws, which are as many for every image.
        """
        shares = torch.rand(2, generator=rng).tolist()
        lowest, highest = JPEG_QUALITIES
        quality = int(torch.randint(lowest, highest + 1, (1,), generator=rng))
        scale = torch.empty(1).uniform_(*SCALE_RANGE, generator=rng).item()
        corner = torch.rand(2, generator=rng).tolist()
        if shares[0] < self.rescale:
            sides = [max(1, round(side * scale)) for side in image.shape[:2]]
            image = _rows(_resized(_pixels(image), sides))
        if shares[1] < self.jpeg:  # torchvision's JPEG is deprecated
            image = _rows(JPEG(quality=quality).change(_pixels(image), rng))
        return self._cut(image, (corner[0], corner[1]))

    def middle_view(self, image: Rows) -> UInt8[Tensor, "3 size size"]:
        """Return the view that validation sees: the middle, without JPEG or scales.

        Args:
            image: uint8 ``(H, W, 3)``.
        """
        return self._cut(image, (0.5, 0.5))

    def _cut(self, image: Rows, corner: tuple[float, float]) -> Tensor:
        """Cut at a place, given as shares of the room there is."""
        if self.fit != "crop" or min(image.shape[:2]) < self.size:
            image = _rows(self._filled(self._fitted(_pixels(image))))
        height, width = image.shape[:2]
        top = round(corner[0] * (height - self.size))
        left = round(corner[1] * (width - self.size))
        return _pixels(image[top : top + self.size, left : left + self.size])

    def _fitted(self, image: Tensor) -> Tensor:
        sides = image.shape[1:]
        if self.fit == "resize":
            factor = self.size / min(sides)
            return _resized(image, [max(self.size, round(side * factor)) for side in sides])
        if self.fit == "pad":
            factor = self.size / max(sides)
            return _resized(image, [min(self.size, max(1, round(s * factor))) for s in sides])
        return image

    def _filled(self, image: Tensor) -> Tensor:
        """Fill up to ``size``: with black for ``pad``, else by repeated mirroring."""
        from torchvision.transforms.v2.functional import pad  # takes seconds

        while min(image.shape[1:]) < self.size:
            rooms = [max(0, self.size - side) for side in image.shape[1:]]
            if self.fit != "pad":
                rooms = [min(r, 2 * (s - 1)) for r, s in zip(rooms, image.shape[1:], strict=True)]
            top = rooms[0] // 2
            left = rooms[1] // 2
            margins = [left, top, rooms[1] - left, rooms[0] - top]
            if not any(margins):  # a side of one pixel has nothing to mirror
                image = pad(image, self._missing(image), padding_mode="edge")
                continue
            mode = "constant" if self.fit == "pad" else "reflect"
            image = pad(image, margins, padding_mode=mode)
        return image

    def _missing(self, image: Tensor) -> list[int]:
        height, width = image.shape[1:]
        return [0, 0, max(0, self.size - width), max(0, self.size - height)]


def _pixels(image: Rows) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


def _rows(pixels: Tensor) -> Rows:
    rows: Rows = pixels.permute(1, 2, 0).numpy()
    return rows


def _resized(image: Tensor, sides: list[int]) -> Tensor:
    from torchvision.transforms import InterpolationMode  # takes seconds
    from torchvision.transforms.v2.functional import resize

    resized: Tensor = resize(image, sides, InterpolationMode.BICUBIC, antialias=True)
    return resized
