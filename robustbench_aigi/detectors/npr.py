"""Detectors of upsampling traces: neighbouring pixel relationships (NPR), on one scale and on
several.
"""

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, cast, final

import torch
from timm.models.resnet import Bottleneck
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

SMALL = MappingProxyType({"width": 8, "depths": [1, 1], "stem_stride": 1, "pool": False})


class ResidualNet(Detector):
    """ResNet-50 cut after its second stage, on a residual of the image that a subclass defines.

    Args:
        width: channels of the stem; the stages end with 4 and 8 times as many.
        depths: blocks of the two stages.
        stem_stride, pool: 2 and True as published; 1 and False keep the 32 x 32 pixels of CIFAKE.
    """

    def __init__(
        self, *, width: int, depths: Sequence[int], stem_stride: int, pool: bool, **further: Any
    ) -> None:
        super().__init__(
            width=width, depths=list(depths), stem_stride=stem_stride, pool=pool, **further
        )
        self.conv1 = nn.Conv2d(3, width, 3, stem_stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.pool = nn.MaxPool2d(3, 2, padding=1) if pool else nn.Identity()
        self.layer1 = stage(width, width, depths[0], stride=1)
        self.layer2 = stage(4 * width, 2 * width, depths[1], stride=2)
        self.fc1 = nn.Linear(8 * width, 1)
        self.gates = nn.ModuleList(nn.Sequential() for _ in range(3))
        self.normalise = Normalise(IMAGENET_MEAN, IMAGENET_STD)
        for part in self.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")

    @abstractmethod
    def residual(self, inputs: Tensor) -> Tensor:
        """What is left of normalised ``(N, 3, H, W)`` images, of about the same size."""

    def logits(self, images: Tensor) -> Tensor:
        """Score ``(N, 3, H, W)`` images in [0, 1]."""
        stem, first, second = self.gates
        features = stem(F.relu(self.bn1(self.conv1(self.residual(self.normalise(images))))))
        features = second(self.layer2(first(self.layer1(self.pool(features)))))
        return cast("Tensor", self.fc1(features.mean(dim=(2, 3)))).squeeze(1)


def stage(inputs: int, planes: int, blocks: int, stride: int) -> nn.Sequential:
    """Bottleneck blocks with ``4 * planes`` outputs; the first one has the stride."""
    shortcut = nn.Sequential(
        nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False), nn.BatchNorm2d(4 * planes)
    )
    first = Bottleneck(inputs, planes, stride, shortcut)
    return nn.Sequential(first, *(Bottleneck(4 * planes, planes) for _ in range(blocks - 1)))


def coarse(images: Tensor, quarters: int) -> Tensor:
    """Images shrunk to ``quarters`` / 4 of their size and enlarged again, nearest neighbour both
    times.
    """
    rows, columns = (
        torch.arange(n, device=images.device) * quarters // 4 * 4 // quarters
        for n in images.shape[-2:]
    )
    return images.index_select(-2, rows).index_select(-1, columns)


def trimmed(images: Tensor, cell: int) -> Tensor:
    """Images without the last rows and columns that do not fill a cell."""
    height, width = images.shape[-2:]
    return images[..., : height - height % cell, : width - width % cell]


@detectors.add("npr")
@final
class NPR(ResidualNet):
    """Each pixel minus the first of its 2 x 2 cell, times 2/3, then a short ResNet-50. Source: Tan
    et al., CVPR 2024.

    The authors' ``NPR.pth`` and ``model_epoch_last_3090.pth`` load with ``weights=PATH``. Arguments
    as in :class:`ResidualNet`.
    """

    default_card = Card(
        name="npr",
        source=(
            "Tan et al., Rethinking the Up-Sampling Operations in CNN-based Generative Network,"
            " CVPR 2024"
        ),
        summary=(
            "short ResNet-50 on neighbouring pixel relationships at native size, 1.4 M parameters"
        ),
        code_licence=(
            "MIT (written anew from the paper; the authors' code states no licence); timm"
            " Apache-2.0"
        ),
        weights_licence="none stated (the authors' NPR.pth): all rights reserved",
        base_licence=FROM_SCRATCH,
        commercial=False,
        input_size=224,
        resize="none: any size; an odd last row or column is cut off",
        cam="layer2",
        published=(
            "ForenSynths 92.5 accuracy, 96.1 AP; GenImage 90.1, 96.9; AIGIBench real 93.8, fake"
            " 41.9"
        ),
    )
    small = SMALL

    def __init__(
        self,
        width: int = 64,
        depths: Sequence[int] = (3, 4),
        stem_stride: int = 2,
        pool: bool = True,
    ) -> None:
        super().__init__(width=width, depths=depths, stem_stride=stem_stride, pool=pool)

    def residual(self, inputs: Tensor) -> Tensor:
        """Two thirds of what nearest-neighbour resampling by 2 takes away."""
        inputs = trimmed(inputs, 2)
        return (inputs - coarse(inputs, 2)) * (2 / 3)


class ChannelAttention(nn.Module):
    """Weigh channels by the sum of two sigmoids, of their mean and of their maximum; CBAM adds
    before the sigmoid.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(1, channels // 16)
        self.shared = nn.Sequential(
            nn.Linear(channels, hidden, bias=False),
            nn.ReLU(),
            nn.Linear(hidden, channels, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Weigh ``(N, C, H, W)``."""
        mean, most = features.mean(dim=(2, 3)), features.amax(dim=(2, 3))
        gate = self.shared(mean).sigmoid() + self.shared(most).sigmoid()
        weighed: Tensor = features * gate[..., None, None]
        return weighed


class SpatialAttention(nn.Module):
    """Weigh places by a sigmoid of a 7 x 7 convolution over the channels' mean and maximum. Source:
    CBAM, ECCV 2018.
    """

    def __init__(self, bias: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 1, 7, padding=3, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """Weigh ``(N, C, H, W)``."""
        pooled = torch.cat(
            [features.mean(dim=1, keepdim=True), features.amax(dim=1, keepdim=True)], dim=1
        )
        weighed: Tensor = features * self.conv(pooled).sigmoid()
        return weighed


def gate(channels: int, *, channel: bool = False, spatial: bool = False) -> nn.Sequential:
    """The attention that is asked for, in order; nothing at all is the identity."""
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if channel:
        parts["channel"] = ChannelAttention(channels)
    if spatial:
        parts["spatial"] = SpatialAttention(bias=False)
    return nn.Sequential(parts)


STUDY = MappingProxyType(
    {
        "npr_weights": "mix",
        "npr_scale_factor": "gain",
        "ca1.fc.": "gates.0.channel.shared.",
        "ca2.fc.": "gates.1.channel.shared.",
        "spatial_att1.": "gates.1.spatial.",
        "spatial_att2.": "gates.2.spatial.",
    }
)
"""Prefixes of the study's names and of ours."""


@detectors.add("npr-multiscale")
@final
class NPRMultiscale(ResidualNet):
    """NPR on learnt shares of several scales, with attention. Source: Tiny-GenImage study, on Tan
    et al., CVPR 2024.

    ``NPR.pth`` and the study's checkpoints load with ``weights=PATH``; what a file lacks stays
    fresh, as in the study. The five rows of its ablation: *base* is ``npr``, or here
    ``scales=[0.5], channel=False``; *multi-scale* ``channel=False``; *channel* ``scales=[0.5]``;
    *spatial* ``scales=[0.5], channel=False, spatial=True``; *final* the default.

    Args:
        scales: of 0.25, 0.5 and 0.75; the mix is a softmax of learnt weights, times a learnt gain.
        channel: attention over channels after the stem and after the first stage.
        spatial: attention over places after both stages.
        width, depths, stem_stride, pool: as in :class:`ResidualNet`.
    """

    default_card = Card(
        name="npr-multiscale",
        source="Tiny-GenImage study (CVIMGDetection), on Tan et al., CVPR 2024",
        summary="NPR at three scales with channel attention, at native size, 1.5 M parameters",
        code_licence=(
            "MIT (written anew from a description; the study's code states no licence); timm"
            " Apache-2.0"
        ),
        weights_licence="none stated (the study's checkpoints): all rights reserved",
        base_licence=FROM_SCRATCH,
        commercial=False,
        input_size=224,
        resize="none: any size; rows and columns past a multiple of 4 are cut off",
        cam="layer2",
        published=(
            "Tiny-GenImage accuracy: base 95.79, multi-scale 95.76, channel 96.51, spatial 95.34,"
            " final 97.06"
        ),
    )
    small = SMALL

    def __init__(
        self,
        scales: Sequence[float] = (0.25, 0.5, 0.75),
        channel: bool = True,
        spatial: bool = False,
        width: int = 64,
        depths: Sequence[int] = (3, 4),
        stem_stride: int = 2,
        pool: bool = True,
    ) -> None:
        own = {"scales": list(scales), "channel": channel, "spatial": spatial}
        super().__init__(width=width, depths=depths, stem_stride=stem_stride, pool=pool, **own)
        if not scales or not set(scales) <= {0.25, 0.5, 0.75}:
            raise UserError(
                f"scales must be of 0.25, 0.5 and 0.75, got {list(scales)}. Write scales=[0.5] for"
                " NPR's."
            )
        self.quarters = [round(4 * scale) for scale in scales]
        self.mix = nn.Parameter(torch.ones(len(scales)))
        self.gain = nn.Parameter(torch.tensor(2 / 3))
        first = gate(4 * width, channel=channel, spatial=spatial)
        self.gates = nn.ModuleList(
            [gate(width, channel=channel), first, gate(8 * width, spatial=spatial)]
        )

    def residual(self, inputs: Tensor) -> Tensor:
        """The residuals of all scales, mixed."""
        inputs = trimmed(inputs, 4)
        shares = self.mix.softmax(dim=0)
        mixed = [
            share * (inputs - coarse(inputs, q))
            for share, q in zip(shares, self.quarters, strict=True)
        ]
        return self.gain * torch.stack(mixed).sum(dim=0)

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From the study's names or NPR's; attention that this network does not have is left
        out.
        """
        added = {name: value for name, value in self.state_dict().items() if _is_added(name)}
        given = {_renamed(name): value for name, value in tensors.items()}
        return added | {
            name: value for name, value in given.items() if name in added or not _is_added(name)
        }


def _renamed(name: str) -> str:
    return next(
        (
            ours + name.removeprefix(theirs)
            for theirs, ours in STUDY.items()
            if name.startswith(theirs)
        ),
        name,
    )


def _is_added(name: str) -> bool:
    return name.startswith(("mix", "gain", "gates."))
