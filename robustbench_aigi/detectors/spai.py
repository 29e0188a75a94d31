"""SPAI: how similar a network finds an image, its low and its high frequencies, per window."""

from collections.abc import Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from robustbench_aigi.detectors._support.parameter_groups import split_rates
from robustbench_aigi.detectors._support.renaming import replace_prefix
from robustbench_aigi.detectors._support.spectral_similarity import (
    Context,
    Pooling,
    circle,
    deviation,
    mlp,
    projector,
    windows,
)
from robustbench_aigi.detectors.base import (
    FROM_SCRATCH,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Card,
    Detector,
    Normalise,
    detectors,
)
from robustbench_aigi.errors import UserError

AUTHORS_PREFIXES = MappingProxyType(
    {
        "mfvit.vit.": "vit.",
        "mfvit.features_processor.patch_projector.projectors.": "projectors.",
        "mfvit.features_processor.original_features_processor.": "context.",
        "patch_aggregator": "pool.query",
        "to_kv.": "pool.to_kv.",
        "to_out.0.": "pool.to_out.",
        "cls_head.head.": "head.",
    }
)
"""Prefixes of the authors' names, and of ours."""


@detectors.add("spai")
@final
class SPAI(Detector):
    """Spectral similarity of ViT features over windows of an image of any size.

    Each window of the image, its low and its high frequencies go through one ViT. Its features
    after every block are projected; the mean and deviation over tokens of their three cosine
    similarities, and a summary of the image's own features, describe the window. A learnt query
    attends to the windows; a small network scores the result. The authors' ``spai.pth`` loads with
    ``weights=PATH``. Grad-CAM gives one map per window. Source: Karageorgiou et al., CVPR 2025.

    Args:
        window: side of a window in pixels; smaller images are padded with zeros around.
        patch: side of a patch of the ViT in pixels.
        width: dimensions of a token of the ViT; the published one is a ViT-B/16 trained to restore
            masked frequencies.
        depth: number of its blocks.
        heads: number of attention heads of a block.
        projection: dimensions of the projected features.
        pooling: dimensions of the attention over windows.
        pooling_heads: number of its heads.
        radius: radius of the circle of low frequencies; None scales the published 16 for 224 pixels
            to the window.
        dropout: dropout of everything after the ViT.
        frozen: do not train the ViT, as its authors did; gradients still reach the image.

    Raises:
        UserError: the window is no multiple of the patch.
    """

    default_card = Card(
        name="spai",
        source=(
            "Karageorgiou et al., Any-Resolution AI-Generated Image Detection by Spectral Learning,"
            " CVPR 2025"
        ),
        summary="spectral similarity of ViT-B/16 features over 224 windows, 133 M parameters",
        code_licence="MIT (re-implementation; the authors' code is Apache-2.0); timm Apache-2.0",
        weights_licence="Apache-2.0 (the authors' spai.pth)",
        base_licence=FROM_SCRATCH,
        commercial=True,
        input_size=224,
        resize="none: windows of any size of image; zeros around an image smaller than one",
        cam="vit.blocks.11.norm1",
        published=(
            "mean AUC 91.0 over 13 generators; retrained on Tiny-GenImage: accuracy 80.5, AP 92.0,"
            " AUC 91.0"
        ),
    )
    small = MappingProxyType(
        {
            "window": 32,
            "patch": 8,
            "width": 32,
            "depth": 2,
            "heads": 2,
            "projection": 16,
            "pooling": 32,
            "pooling_heads": 2,
            "dropout": 0.1,
        }
    )

    mask: Tensor

    def __init__(
        self,
        window: int = 224,
        patch: int = 16,
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        projection: int = 1024,
        pooling: int = 1536,
        pooling_heads: int = 12,
        radius: float | None = None,
        dropout: float = 0.5,
        frozen: bool = False,
    ) -> None:
        from timm.models.vision_transformer import VisionTransformer  # takes seconds

        super().__init__()
        if window % patch:
            raise UserError(
                f"window must be a multiple of patch, got {window} and {patch}. Write"
                f" window={4 * patch}."
            )
        self.window = window
        self.vit = VisionTransformer(
            img_size=window,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            global_pool="",
            final_norm=False,
            drop_path_rate=0.1,
        )
        self.vit.requires_grad_(not frozen)
        self.projectors = nn.ModuleList(projector(width, projection, dropout) for _ in range(depth))
        self.context = Context(depth, projection, dropout)
        described = 6 * depth + projection
        self.pool = Pooling(described, pooling, pooling_heads, dropout)
        self.norm = nn.LayerNorm(described)
        self.head = mlp(described, 3 * described, dropout)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        if radius is None:
            radius = 16 * window / 224
        self.register_buffer("mask", circle(window, radius), persistent=False)
        self.describe(input_size=window, cam=f"vit.blocks.{depth - 1}.norm1")

    def logits(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, " n"]:
        """Score ``images``, ``(N, 3, H, W)`` in [0, 1]."""
        looked_at = windows(images, self.window)
        described = self.described(looked_at.flatten(0, 1)).unflatten(0, looked_at.shape[:2])
        return cast("Tensor", self.head(self.norm(self.pool(described)))).squeeze(1)

    def described(self, looked_at: Tensor) -> Tensor:
        """Describe windows by their similarities and their context.

        Args:
            looked_at: windows in [0, 1], ``(M, 3, S, S)``.

        Returns:
            Descriptions, ``(M, D)``.
        """
        transformed = torch.fft.fft2(looked_at)
        bands = [
            torch.fft.ifft2(transformed * part).real.clamp(0, 1)
            for part in (self.mask, 1 - self.mask)
        ]
        features = [self.projected(self.normalise(part)) for part in (looked_at, *bands)]
        moments = []
        for one, other in combinations(features, 2):
            similarity = F.cosine_similarity(one, other, dim=-1)
            moments += [similarity.mean(dim=-1), deviation(similarity, dim=-1)]
        return torch.cat([*moments, self.context(features[0])], dim=1)

    def projected(self, inputs: Tensor) -> Tensor:
        """Return the projected features after every block of the ViT.

        Args:
            inputs: normalised windows, ``(M, 3, S, S)``.

        Returns:
            Features, ``(M, blocks, tokens, D)``.
        """
        outputs = self.vit.forward_intermediates(inputs, output_fmt="NLC", intermediates_only=True)
        return torch.stack(
            [project(tokens) for project, tokens in zip(self.projectors, outputs, strict=True)],
            dim=1,
        )

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """Return groups with the ViT at a tenth of the learning rate.

        Args:
            decay: weight decay of matrices.
        """
        return split_rates(super().parameter_groups(decay), self.vit, inside=0.1, outside=1.0)

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename the authors' tensors, join the ViT's biases, and leave out its own classifier.

        Args:
            tensors: tensors under their authors' names.
        """
        given = {
            replace_prefix(name, AUTHORS_PREFIXES): value
            for name, value in tensors.items()
            if name != "mfvit.frequencies_mask"
        }
        for name in [name for name in given if name.endswith(".q_bias")]:
            q = given[name]
            v = given[name.replace(".q_bias", ".v_bias")]
            given[name.replace(".q_bias", ".qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])
        known = self.state_dict()
        return {
            name: value
            for name, value in given.items()
            if name in known or not name.startswith("vit.")
        }
