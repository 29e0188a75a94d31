"""SPAI: how alike a network finds an image, its low frequencies and its high ones, window by
window.
"""

from collections import OrderedDict
from collections.abc import Mapping
from itertools import combinations
from types import MappingProxyType
from typing import Any, cast, final

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

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

PUBLIC = MappingProxyType(
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
"""Prefixes of the authors' names and of ours."""
MINIMUM = 4
"""Windows below which the four corners and the middle are looked at instead."""


@detectors.add("spai")
@final
class SPAI(Detector):
    """Spectral similarity of ViT features over windows of an image of any size. Source:
    Karageorgiou et al., CVPR 2025.

    Each window of the image, its low and its high frequencies go through one ViT. Its features
    after every block are projected; the mean and deviation over tokens of their three cosine
    similarities, and a summary of the image's own features, describe the window. A learnt query
    attends to the windows; a small network scores the result. The authors' ``spai.pth`` loads with
    ``weights=PATH``. Grad-CAM gives a map a window.

    Args:
        window: pixels a side; smaller images are padded with zeros around. patch: of the ViT.
        width, depth, heads: of the ViT; the published one is a ViT-B/16 trained to restore masked
            frequencies.
        projection: width of the projected features. pooling, pooling_heads: of the attention over
            windows.
        radius: of the low frequencies' circle; None takes the published 16 for 224 pixels to the
            window's size.
        dropout: in everything after the ViT.
        frozen: keep the ViT as it is in training, as its authors did; gradients still reach the
            image.
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
        }
        | {"pooling_heads": 2, "dropout": 0.1}
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
        own = {"window": window, "patch": patch, "width": width, "depth": depth, "heads": heads}
        own |= {"projection": projection, "pooling": pooling, "pooling_heads": pooling_heads}
        super().__init__(**own, radius=radius, dropout=dropout, frozen=frozen)
        if window % patch:
            raise UserError(
                f"window must be a multiple of patch, got {window} and {patch}. Write"
                f" window={4 * patch}."
            )
        self.window = window
        size = {
            "img_size": window,
            "patch_size": patch,
            "embed_dim": width,
            "depth": depth,
            "num_heads": heads,
        }
        self.vit = VisionTransformer(
            **size, num_classes=0, global_pool="", final_norm=False, drop_path_rate=0.1
        )
        self.vit.requires_grad_(not frozen)
        self.projectors = nn.ModuleList(projector(width, projection, dropout) for _ in range(depth))
        self.context = Context(depth, projection, dropout)
        described = 6 * depth + projection
        self.pool = Pooling(described, pooling, pooling_heads, dropout)
        self.norm = nn.LayerNorm(described)
        self.head = mlp(described, 3 * described, dropout)
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        self.register_buffer(
            "mask",
            circle(window, 16 * window / 224 if radius is None else radius),
            persistent=False,
        )
        self.card = self.card.model_copy(
            update={"input_size": window, "cam": f"vit.blocks.{depth - 1}.norm1"}
        )

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        looked_at = windows(images, self.window)
        described = self.described(looked_at.flatten(0, 1)).unflatten(0, looked_at.shape[:2])
        return cast("Tensor", self.head(self.norm(self.pool(described)))).squeeze(1)

    def described(self, looked_at: Tensor) -> Tensor:
        """Similarities and context ``(M, D)`` of ``(M, 3, S, S)`` windows."""
        transformed = torch.fft.fft2(looked_at)
        bands = [
            torch.fft.ifft2(transformed * part).real.clamp(0, 1)
            for part in (self.mask, 1 - self.mask)
        ]
        features = [self.projected(self.normalise(part)) for part in (looked_at, *bands)]
        alike = [
            F.cosine_similarity(one, other, dim=-1) for one, other in combinations(features, 2)
        ]
        moments = [
            moment for like in alike for moment in (like.mean(dim=-1), deviation(like, dim=-1))
        ]
        return torch.cat([*moments, self.context(features[0])], dim=1)

    def projected(self, inputs: Tensor) -> Tensor:
        """Features ``(M, blocks, tokens, D)`` of normalised windows, after every block of the
        ViT.
        """
        outputs = self.vit.forward_intermediates(inputs, output_fmt="NLC", intermediates_only=True)
        return torch.stack(
            [project(tokens) for project, tokens in zip(self.projectors, outputs, strict=True)],
            dim=1,
        )

    def parameter_groups(self, decay: float) -> list[dict[str, Any]]:
        """The ViT at a tenth of the plan's rate."""
        return rated(super().parameter_groups(decay), self.vit, inside=0.1, outside=1.0)

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From the authors' names; the ViT's biases of q and v are joined, and its own classifier
        is left out.
        """
        given = {
            _renamed(name): value
            for name, value in tensors.items()
            if name != "mfvit.frequencies_mask"
        }
        for name in [name for name in given if name.endswith(".q_bias")]:
            q, v = given[name], given[name.replace(".q_bias", ".v_bias")]
            given[name.replace(".q_bias", ".qkv.bias")] = torch.cat([q, torch.zeros_like(q), v])
        known = self.state_dict()
        return {
            name: value
            for name, value in given.items()
            if name in known or not name.startswith("vit.")
        }


def rated(
    groups: list[dict[str, Any]], trunk: nn.Module, *, inside: float, outside: float
) -> list[dict[str, Any]]:
    """Groups for AdamW, split in two: shares of the plan's rate for the parameters inside a trunk
    and outside it.
    """
    held = {id(parameter) for parameter in trunk.parameters()}
    return [
        {
            **group,
            "params": [p for p in group["params"] if (id(p) in held) == within],
            "lr_scale": share,
        }
        for group in groups
        for within, share in ((True, inside), (False, outside))
    ]


class Pooling(nn.Module):
    """Attention of a learnt query over the windows of an image: ``(N, L, D)`` to ``(N, D)``."""

    def __init__(self, described: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.query = nn.Parameter(0.02 * torch.randn(heads, 1, width // heads))
        self.to_kv = nn.Linear(described, 2 * width, bias=False)
        self.to_out = nn.Linear(width, described, bias=False)
        self.dropout = dropout

    def forward(self, described: Tensor) -> Tensor:
        """Attend to ``(N, L, D)``."""
        keys, values = (
            self.to_kv(described).unflatten(-1, (2, len(self.query), -1)).permute(2, 0, 3, 1, 4)
        )
        asked = self.query.expand(len(described), -1, -1, -1)
        drop = self.dropout if self.training else 0.0
        found = F.scaled_dot_product_attention(asked, keys, values, dropout_p=drop)
        return F.dropout(self.to_out(found.flatten(1)), self.dropout, self.training)


class Context(nn.Module):
    """The image's own features, blocks weighed by learnt importance: ``(M, blocks, tokens, D)`` to
    ``(M, D)``.
    """

    def __init__(self, blocks: int, width: int, dropout: float) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.randn(1, blocks, width))
        self.proj1 = projector(2 * width, width, dropout, inner=True)
        self.proj2 = projector(width, width, dropout, inner=True)

    def forward(self, features: Tensor) -> Tensor:
        """Mean and deviation over tokens, projected, summed over blocks, projected."""
        moments = torch.cat([features.mean(dim=2), deviation(features, dim=2)], dim=-1)
        return cast(
            "Tensor", self.proj2((self.alpha.softmax(dim=1) * self.proj1(moments)).sum(dim=1))
        )


def projector(inputs: int, outputs: int, dropout: float, inner: bool = False) -> nn.Sequential:
    """Two linear layers, normed before and after; an ``inner`` one is not normed before, and ends
    in a GELU.
    """
    drop = nn.Dropout(dropout)
    last = nn.GELU() if inner else nn.Identity()
    layers = nn.Sequential(
        drop, nn.Linear(inputs, outputs), nn.GELU(), drop, nn.Linear(outputs, outputs), last, drop
    )
    before = nn.Identity() if inner else nn.LayerNorm(inputs)
    return nn.Sequential(OrderedDict(norm1=before, projector=layers, norm2=nn.LayerNorm(outputs)))


def mlp(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    """Two hidden layers of ReLU units and one logit."""
    first, second = (nn.Linear(width, hidden) for width in (inputs, hidden))
    drop = nn.Dropout(dropout)
    return nn.Sequential(first, nn.ReLU(), drop, second, nn.ReLU(), drop, nn.Linear(hidden, 1))


def deviation(values: Tensor, dim: int) -> Tensor:
    """Standard deviation with a finite slope where all values are equal, as they are in a flat
    image.
    """
    return (values.var(dim=dim) + 1e-12).sqrt()


def circle(size: int, radius: float) -> Tensor:
    """1 inside a circle of the unshifted spectrum ``(S, S)``; as its authors count, 0 and -1 are
    both its middle.
    """
    frequencies = torch.fft.fftfreq(size, 1 / size).round()
    steps = torch.where(frequencies < 0, -frequencies - 1, frequencies)
    return (torch.hypot(steps[:, None], steps[None]) < radius).float()


def windows(images: Tensor, size: int) -> Tensor:
    """``(N, L, 3, S, S)`` windows side by side; corners and middle if they are fewer than
    :data:`MINIMUM`.
    """
    height, width = images.shape[-2:]
    missing = [max(0, size - width), max(0, size - height)]
    images = F.pad(images, [part for m in missing for part in (m // 2, m - m // 2)])
    height, width = images.shape[-2:]
    if height == width == size:
        return images[:, None]  # five crops of it would be five times the same
    if (height // size) * (width // size) >= MINIMUM:
        grid = images.unfold(2, size, size).unfold(3, size, size)
        return grid.flatten(2, 3).transpose(1, 2)
    down, right = height - size, width - size
    corners = [(0, 0), (0, right), (down, 0), (down, right), (round(down / 2), round(right / 2))]
    return torch.stack([images[..., y : y + size, x : x + size] for y, x in corners], dim=1)


def _renamed(name: str) -> str:
    return next(
        (
            ours + name.removeprefix(theirs)
            for theirs, ours in PUBLIC.items()
            if name.startswith(theirs)
        ),
        name,
    )
