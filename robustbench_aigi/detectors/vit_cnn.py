"""A ViT's class token summed with the features of a small CNN, at 224 and at native 32 x 32."""

from types import MappingProxyType
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors._support.resizing import fit_size
from robustbench_aigi.detectors._support.vit_backbone import (
    HALF_STATISTICS,
    VIT_B16_MODEL,
    vit_backbone,
)
from robustbench_aigi.detectors.base import (
    FROM_SCRATCH,
    NO_WEIGHTS,
    Card,
    Detector,
    Normalise,
    detectors,
)


class Fusion(nn.Module):
    """The CNN, the two weights of the sum, and the head that turns it into a logit.

    Args:
        width: dimensions of the class token.

    Attributes:
        alpha: learned weight of the class token; 1 at first.
        beta: learned weight of the CNN's features; 1 at first.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(()))
        self.beta = nn.Parameter(torch.ones(()))
        self.cnn = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU()),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
            # The mean commutes with the 1 x 1 convolution, which is cheaper on one pixel.
            nn.AdaptiveAvgPool2d(1),
            *(nn.Conv2d(64, width, 1), nn.Flatten()),
        )
        self.head = nn.Sequential(
            *(nn.Linear(width, 512), nn.BatchNorm1d(512, affine=False), nn.GELU(), nn.Dropout(0.3)),
            *(nn.Linear(512, 256), nn.BatchNorm1d(256), nn.GELU(), nn.Dropout(0.3)),
            nn.Linear(256, 1),
        )

    def forward(self, token: Tensor, images: Tensor) -> Tensor:
        """Score images.

        Args:
            token: class tokens, ``(N, D)``.
            images: normalised, ``(N, 3, H, W)``.

        Returns:
            Logits, ``(N,)``.
        """
        joined = self.alpha * token + self.beta * self.cnn(images)
        return cast("Tensor", self.head(joined)).squeeze(1)


class ViTWithCNN(Detector):
    """A ViT and a CNN on the same resized image.

    Args:
        size: side in pixels that images are resized to.
        patch: side of a patch in pixels.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
        pretrained: start from ImageNet weights of the ViT, from a hub.
        frozen: train the CNN and the head only.
    """

    def __init__(
        self,
        *,
        size: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        pretrained: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__()
        self.size = size
        self.frozen = frozen
        self.trunk = vit_backbone(
            VIT_B16_MODEL,
            pretrained,
            0,
            size=size,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
        )
        self.trunk.requires_grad_(not frozen)
        self.fusion = Fusion(width)
        self.normalise = Normalise(HALF_STATISTICS, HALF_STATISTICS)
        self.describe(input_size=size, cam=f"trunk.blocks.{depth - 1}.norm1")

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``images``, ``(N, 3, H, W)`` in [0, 1]."""
        inputs = self.normalise(fit_size(images, self.size))
        return cast("Tensor", self.fusion(self.trunk(inputs), inputs))

    def parts_to_train(self) -> nn.Module:
        """Return the whole detector, or the CNN and the head if the ViT is frozen."""
        return self.fusion if self.frozen else self


@detectors.add("vit-cnn")
@final
class ViTCNN(ViTWithCNN):
    """ViT-B/16 and a small CNN.

    Source: Tiny-GenImage study (CVLabWorks/CVIMGDetection), re-implemented.

    Args:
        size: side in pixels that images are resized to.
        patch: side of a patch in pixels.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
        pretrained: start from ImageNet weights of the ViT, from a hub; only with the default
            numbers.
        frozen: train the CNN and the head only, as the study did on a pretrained ViT.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
    """

    default_card = Card(
        name="vit-cnn",
        source="Tiny-GenImage study (CVLabWorks/CVIMGDetection), re-implemented; ViT from timm",
        summary=(
            "ViT-B/16 at 224 and a CNN, their features summed with learned weights, 86.4 M"
            " parameters"
        ),
        code_licence="timm Apache-2.0; this class MIT; the study's code states none",
        weights_licence=NO_WEIGHTS,
        base_licence="Apache-2.0 (ImageNet-21k, augreg), if pretrained",
        commercial=True,
        input_size=224,
        cam="trunk.blocks.11.norm1",
        published="Tiny-GenImage 87.46",
    )
    small = MappingProxyType({"size": 32, "patch": 8, "width": 48, "depth": 2, "heads": 3})

    def __init__(
        self,
        size: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        pretrained: bool = False,
        frozen: bool = False,
    ) -> None:
        super().__init__(
            size=size,
            patch=patch,
            width=width,
            depth=depth,
            heads=heads,
            pretrained=pretrained,
            frozen=frozen,
        )


@detectors.add("vit-cnn-c32")
@final
class ViTCNNC32(ViTWithCNN):
    """A small ViT and a small CNN at native 32 x 32.

    Source: Tiny-GenImage study (CVLabWorks/CVIMGDetection), re-implemented.

    Args:
        patch: side of a patch in pixels; 4 gives 64 tokens.
        width: dimensions of a token.
        depth: number of blocks.
        heads: number of attention heads of a block.
    """

    default_card = Card(
        name="vit-cnn-c32",
        source="Tiny-GenImage study (CVLabWorks/CVIMGDetection), re-implemented; ViT from timm",
        summary=(
            "ViT at 32 x 32, width 192, and a CNN, their features summed with learned weights, 2.95"
            " M parameters"
        ),
        code_licence="timm Apache-2.0; this class MIT; the study's code states none",
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
        cam="trunk.blocks.5.norm1",
    )
    small = MappingProxyType({"width": 48, "depth": 2})

    def __init__(self, patch: int = 4, width: int = 192, depth: int = 6, heads: int = 3) -> None:
        super().__init__(size=32, patch=patch, width=width, depth=depth, heads=heads)
