"""TinyViT with five million parameters, fitted to 32 x 32 images."""

from typing import cast, final

import torch
from timm.models.tiny_vit import TinyVit
from torch import Tensor

from robustbench_aigi.detectors.base import IMAGENET_MEAN, IMAGENET_STD, Card, Detector, Normalise, detectors, fit_size
from robustbench_aigi.errors import UserError


@detectors.add("tinyvit-5m")
@final
class TinyViT5M(Detector):
    """TinyViT-5M whose windows and stem fit 32 x 32. Source: Wu et al., TinyViT, ECCV 2022.

    Args:
        stem_stride: 4 as published (an 8 x 8 map after the stem), or 2 for a finer map at about a third of the speed.
        drop_path: share of residual branches dropped while training.
    """

    default_card = Card(
        name="tinyvit-5m",
        source="Wu et al., TinyViT, ECCV 2022; network from timm",
        summary="TinyViT-5M at 32 x 32, 5.1 M parameters",
        code_licence="MIT; timm Apache-2.0",
    )

    def __init__(self, stem_stride: int = 4, drop_path: float = 0.0) -> None:
        super().__init__(stem_stride=stem_stride, drop_path=drop_path)
        if stem_stride not in (2, 4):
            raise UserError(
                f"stem_stride must be 2 or 4, got {stem_stride}. Write stem_stride=4 for the published stem."
            )
        side = 32 // stem_stride
        self.net = TinyVit(
            num_classes=1,
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(side, side // 2, side // 4, side // 8),
            drop_path_rate=drop_path,
        )
        if stem_stride == 2:
            self.net.patch_embed.conv2.conv.stride = (1, 1)
        self.net.to(memory_format=torch.channels_last)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        inputs = self.normalise(fit_size(images, 32)).contiguous(memory_format=torch.channels_last)
        return cast("Tensor", self.net(inputs)).squeeze(1)
