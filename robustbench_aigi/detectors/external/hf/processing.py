"""What an image processor of the transformers library does to an image, done differentiably."""

from collections.abc import Mapping
from typing import Any, cast, final

import torch
from PIL import Image
from torch import Tensor, nn

from robustbench_aigi.detectors._support.resizing import centre_crop, resize, short_side
from robustbench_aigi.detectors.base import Normalise
from robustbench_aigi.errors import UserError
from robustbench_aigi.imaging.pixels import from_bytes

KERNELS = {0: "nearest-exact", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of its resampling kernels."""

HINT = "Wrap its network instead: rb.wrap(module, input_size=..., mean=..., std=...)."


def processing_of(processor: Any, model: str) -> "Processing":
    """What an image processor does, compared with itself on a picture.

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
            f" {HINT}"
        ) from error
    processing.check(theirs, model)
    return processing


def _picture() -> Tensor:
    """Ramps of three colours, uint8 ``(3, 256, 320)``."""
    ramp = torch.linspace(0, 255, 320)
    planes = (
        ramp.expand(256, -1),
        ramp.flip(0).expand(256, -1),
        ramp[:256, None].expand(-1, 320) / 2,
    )
    return torch.stack(planes).round().to(torch.uint8)


@final
class Processing(nn.Module):
    """What an image processor does to an image: resize, centre crop, channel order, normalise;
    differentiable.

    Args:
        settings: the image processor as a dictionary.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__()
        self.size: dict[str, int] = (
            dict(settings.get("size") or {}) if settings.get("do_resize") else {}
        )
        self.crop_share: float | None = settings.get("crop_pct")
        crop = settings.get("crop_size") if settings.get("do_center_crop") else None
        self.crop = (int(crop["height"]), int(crop["width"])) if crop else None
        self.flip = bool(settings.get("do_flip_channel_order"))
        code = settings.get("resample")
        self.kernel = KERNELS.get(2 if code is None else int(code), f"Pillow's kernel {code}")
        scale = 255 * settings["rescale_factor"] if settings.get("do_rescale") else 255.0
        moved = settings.get("do_normalize")
        mean = settings["image_mean"] if moved else (0.0, 0.0, 0.0)
        std = settings["image_std"] if moved else (1.0, 1.0, 1.0)
        self.normalise = Normalise(tuple(m / scale for m in mean), tuple(s / scale for s in std))

    @property
    def side(self) -> int:
        """Height in pixels of what the network sees; 0 if it depends on the image."""
        return (
            self.crop[0]
            if self.crop
            else self.size.get("height", self.size.get("shortest_edge", 0))
        )

    def __str__(self) -> str:
        """The steps in words, for the card."""
        return f"{self.kernel} to {self.size or 'the same size'}, centre crop {self.crop or 'none'}"

    def forward(self, images: Tensor) -> Tensor:
        """``(N, 3, H, W)`` images in [0, 1] as the network wants them."""
        images = self._resized(images)
        if self.crop is not None:
            images = centre_crop(images, self.crop, down=True)
        return cast("Tensor", self.normalise(images.flip(1) if self.flip else images))

    def _resized(self, images: Tensor) -> Tensor:
        if "shortest_edge" not in self.size:
            return (
                resize(images, (self.size["height"], self.size["width"]), self.kernel)
                if self.size
                else images
            )
        edge = self.size["shortest_edge"]
        if self.crop_share is None:
            return resize(images, short_side(images, edge), self.kernel)
        if edge >= 384:  # ConvNeXt's processor squeezes large inputs and crops small ones
            return resize(images, (edge, edge), self.kernel)
        images = resize(images, short_side(images, int(edge / self.crop_share)), self.kernel)
        return centre_crop(images, (edge, edge), down=True)

    def check(self, theirs: Tensor, model: str) -> None:
        """Compare with what the image processor made of :func:`_picture`. Raises ``UserError`` if
        they differ.
        """
        try:
            ours = self(from_bytes(_picture()[None]))
        except (KeyError, NotImplementedError) as error:
            raise UserError(
                f"the image processor of {model} resizes in an unknown way: {self}. {HINT}"
            ) from error
        if ours.shape != theirs.shape or float((ours - theirs).abs().mean()) > 0.05 * float(
            theirs.std()
        ):
            raise UserError(
                f"the image processor of {model} does more than is known here: {self}. {HINT}"
            )
