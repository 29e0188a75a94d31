"""The image processors of the transformers library, done differentiably."""

from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import torch
from PIL import Image
from torch import Tensor, nn

from robustbench_aigi.detectors._support.resizing import centre_crop, resize, short_side
from robustbench_aigi.detectors.base import Normalise
from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import from_bytes

PILLOW_KERNELS = {0: "nearest-exact", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Resampling kernels by Pillow's numbers."""
PILLOW_BILINEAR = 2
MAX_DEVIATION = 0.05
"""Largest mean difference from the image processor's own result, in its standard deviations."""
SQUEEZED_EDGE = 384
"""Side in pixels from which ConvNeXt's processor squeezes images instead of cropping them."""

WRAP_HINT = "Wrap its network instead: rb.wrap(module, input_size=..., mean=..., std=...)."


def processing_of(processor: Any, model: str) -> "Processing":
    """Return what an image processor does, compared with the processor itself on a picture.

    Args:
        processor: of the transformers library.
        model: the address after ``hf:``, for messages.

    Raises:
        UserError: its settings lack something, or it does something that is not known here.
    """
    try:
        theirs = processor(
            Image.fromarray(_picture().permute(1, 2, 0).numpy()), return_tensors="pt"
        )["pixel_values"]
        processing = Processing(processor.to_dict())
    except (KeyError, TypeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f"the image processor of {model} lacks a setting: {reason}. Borrow another: write"
            f" hf:{model}?processor=REPO_OR_FOLDER, that of the network it was fine-tuned from. Or:"
            f" {WRAP_HINT}"
        ) from error
    processing.check(theirs, model)
    return processing


def _picture() -> Tensor:
    """Return ramps of three colours, uint8 ``(3, 256, 320)``."""
    ramp = torch.linspace(0, 255, 320)
    planes = (
        ramp.expand(256, -1),
        ramp.flip(0).expand(256, -1),
        ramp[:256, None].expand(-1, 320) / 2,
    )
    return torch.stack(planes).round().to(torch.uint8)


@final
class Processing(nn.Module):
    """Resizes, crops, orders the channels and normalises as an image processor does.

    Args:
        settings: the image processor as a dictionary.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.size: dict[str, int] = {}
        if settings.get("do_resize"):
            self.size = dict(settings.get("size") or {})
        self.crop_share: float | None = settings.get("crop_pct")
        crop = settings.get("crop_size") if settings.get("do_center_crop") else None
        self.crop = (int(crop["height"]), int(crop["width"])) if crop else None
        self.flip = bool(settings.get("do_flip_channel_order"))
        code = settings.get("resample")
        number = PILLOW_BILINEAR if code is None else int(code)
        self.kernel = PILLOW_KERNELS.get(number, f"Pillow's kernel {code}")
        scale = 255 * settings["rescale_factor"] if settings.get("do_rescale") else 255.0
        mean: Sequence[float] = (0.0, 0.0, 0.0)
        std: Sequence[float] = (1.0, 1.0, 1.0)
        if settings.get("do_normalize"):
            mean = settings["image_mean"]
            std = settings["image_std"]
        self.normalise = Normalise(tuple(m / scale for m in mean), tuple(s / scale for s in std))

    @property
    def side(self) -> int:
        """Height in pixels of what the network sees; 0 if it depends on the image."""
        if self.crop:
            return self.crop[0]
        return self.size.get("height", self.size.get("shortest_edge", 0))

    def __str__(self) -> str:
        """Return the steps in words, for the card."""
        return f"{self.kernel} to {self.size or 'the same size'}, centre crop {self.crop or 'none'}"

    def forward(self, images: Tensor) -> Tensor:
        """Return images as the network takes them.

        Args:
            images: ``(N, 3, H, W)`` in [0, 1].
        """
        images = self._resized(images)
        if self.crop is not None:
            images = centre_crop(images, self.crop, down=True)
        return cast("Tensor", self.normalise(images.flip(1) if self.flip else images))

    def _resized(self, images: Tensor) -> Tensor:
        if not self.size:
            return images
        if "shortest_edge" not in self.size:
            return resize(images, (self.size["height"], self.size["width"]), self.kernel)
        edge = self.size["shortest_edge"]
        if self.crop_share is None:
            return resize(images, short_side(images, edge), self.kernel)
        if edge >= SQUEEZED_EDGE:
            return resize(images, (edge, edge), self.kernel)
        images = resize(images, short_side(images, int(edge / self.crop_share)), self.kernel)
        return centre_crop(images, (edge, edge), down=True)

    def check(self, theirs: Tensor, model: str) -> None:
        """Raise ``UserError`` if the image processor gave something else for :func:`_picture`.

        Args:
            theirs: what it gave.
            model: the address after ``hf:``, for messages.
        """
        try:
            ours = self(from_bytes(_picture()[None]))
        except (KeyError, NotImplementedError) as error:
            raise UserError(
                f"the image processor of {model} resizes in an unknown way: {self}. {WRAP_HINT}"
            ) from error
        is_same = ours.shape == theirs.shape
        if is_same:
            limit = MAX_DEVIATION * float(theirs.std())
            is_same = not float((ours - theirs).abs().mean()) > limit
        if not is_same:
            raise UserError(
                f"the image processor of {model} does more than is known here: {self}. {WRAP_HINT}"
            )
