"""NPR at several scales, with attention."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import final

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors._support.attention import ChannelAttention, SpatialAttention
from robustbench_aigi.detectors._support.renaming import replace_prefix
from robustbench_aigi.detectors._support.residual_net import (
    SMALL_NET,
    ResidualNet,
    resample_nearest,
    trim_to_multiple,
)
from robustbench_aigi.detectors.base import FROM_SCRATCH, Card, detectors
from robustbench_aigi.errors import UserError

STUDY_PREFIXES = MappingProxyType(
    {
        "npr_weights": "mix",
        "npr_scale_factor": "gain",
        "ca1.fc.": "gates.0.channel.shared.",
        "ca2.fc.": "gates.1.channel.shared.",
        "spatial_att1.": "gates.1.spatial.",
        "spatial_att2.": "gates.2.spatial.",
    }
)
"""Prefixes of the study's names, and of ours."""


@detectors.add("npr-multiscale")
@final
class NPRMultiscale(ResidualNet):
    """NPR on learnt shares of several scales, with attention.

    ``NPR.pth`` and the study's checkpoints load with ``weights=PATH``; what a file lacks stays
    fresh, as in the study. The five rows of its ablation: *base* is NPR itself, or here
    ``scales=[0.5], channel=False``; *multi-scale* ``channel=False``; *channel* ``scales=[0.5]``;
    *spatial* ``scales=[0.5], channel=False, spatial=True``; *final* the default.
    Source: Tiny-GenImage study, on Tan et al., CVPR 2024.

    Args:
        scales: one or more of 0.25, 0.5 and 0.75; the mix is a softmax of learnt weights, times a
            learnt gain.
        channel: attention over channels after the stem and after the first stage.
        spatial: attention over places after both stages.
        width: channels of the stem; the stages end with 4 and 8 times as many.
        depths: number of blocks of the two stages.
        stem_stride: stride of the first convolution; 2 as published, 1 for images of 32 pixels.
        pool: max-pool after the stem; True as published, False for images of 32 pixels.

    Raises:
        UserError: no scale, or another one.
    """

    default_card = Card(
        name="npr-multiscale",
        source="Tiny-GenImage study (CVIMGDetection), on Tan et al., CVPR 2024",
        summary="NPR at three scales with channel attention, at native size, 1.5 M parameters",
        code_licence=(
            "MIT (written from a description; the study's code states no licence); timm Apache-2.0"
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
    small = SMALL_NET
    config_first = ("width", "depths", "stem_stride", "pool")

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
        super().__init__(width=width, depths=depths, stem_stride=stem_stride, pool=pool)
        if not scales or not set(scales) <= {0.25, 0.5, 0.75}:
            raise UserError(
                f"scales must be of 0.25, 0.5 and 0.75, got {list(scales)}. Write scales=[0.5] for"
                " NPR's."
            )
        self.quarters = [round(4 * scale) for scale in scales]
        self.mix = nn.Parameter(torch.ones(len(scales)))
        self.gain = nn.Parameter(torch.tensor(2 / 3))
        after_first = attention_gate(4 * width, channel=channel, spatial=spatial)
        after_stem = attention_gate(width, channel=channel)
        after_second = attention_gate(8 * width, spatial=spatial)
        self.gates = nn.ModuleList([after_stem, after_first, after_second])

    def residual(self, inputs: Tensor) -> Tensor:
        """Return the residuals of ``inputs`` at all scales, mixed."""
        inputs = trim_to_multiple(inputs, 4)
        shares = self.mix.softmax(dim=0)
        mixed = [
            share * (inputs - resample_nearest(inputs, q))
            for share, q in zip(shares, self.quarters, strict=True)
        ]
        return self.gain * torch.stack(mixed).sum(dim=0)

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename the study's tensors, or NPR's, without attention that this network lacks.

        Args:
            tensors: tensors under their authors' names.
        """
        added = {name: value for name, value in self.state_dict().items() if _is_added(name)}
        given = {replace_prefix(name, STUDY_PREFIXES): value for name, value in tensors.items()}
        return added | {
            name: value for name, value in given.items() if name in added or not _is_added(name)
        }


def attention_gate(channels: int, *, channel: bool = False, spatial: bool = False) -> nn.Sequential:
    """Build attention over channels, over places, or over both in this order.

    Args:
        channels: channels of the feature map.
        channel: attention over channels.
        spatial: attention over places.

    Returns:
        The attention; the identity if none is asked for.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if channel:
        parts["channel"] = ChannelAttention(channels)
    if spatial:
        parts["spatial"] = SpatialAttention(bias=False)
    return nn.Sequential(parts)


def _is_added(name: str) -> bool:
    """Whether a tensor is one that NPR does not have."""
    return name.startswith(("mix", "gain", "gates."))
