"""Swin Transformers, at 224 and at native 32 x 32."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, final

from torch import Tensor

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors._support.vit_backbone import from_hugging_face
from robustbench_aigi.detectors.base import FROM_SCRATCH, NO_WEIGHTS, Card, detectors

NOT_LEARNED = ("relative_position_index", "attn_mask")
"""Ends of the names of tensors that follow from the size of windows."""


class Swin(Backbone):
    """A Swin whose mean token gives the logit.

    Args:
        size: side in pixels that images are resized to.
        patch: side of a patch in pixels.
        window: side of a window in patches.
        width: channels of the first stage.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage.
        pretrained: start from ImageNet weights, from a hub.
        fake_index: output of a two-class checkpoint that means AI-generated.
    """

    head: ClassVar[str] = "head.fc"

    def __init__(
        self,
        *,
        size: int,
        patch: int,
        window: int,
        width: int,
        depths: Sequence[int],
        heads: Sequence[int],
        pretrained: bool = False,
        fake_index: int = 1,
    ) -> None:
        net = timm_backbone(
            "swin_tiny_patch4_window7_224.ms_in1k",
            pretrained=pretrained,
            num_classes=1,
            img_size=size,
            patch_size=patch,
            window_size=window,
            embed_dim=width,
            depths=tuple(depths),
            num_heads=tuple(heads),
        )
        super().__init__(net, size=size, cam="net.norm", fake_index=fake_index)

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename tensors from Hugging Face's names; timm's stay as they are.

        Args:
            tensors: tensors under their authors' names.
        """
        learned = {
            _merging_renamed(name): value
            for name, value in tensors.items()
            if not name.endswith(NOT_LEARNED)
        }
        return from_hugging_face(learned, "swin.", self.head)


def _merging_renamed(name: str) -> str:
    """Merging ends a stage in Hugging Face's names, and begins the next one in timm's."""
    return re.sub(
        r"encoder\.layers\.(\d+)\.downsample",
        lambda found: f"layers.{int(found[1]) + 1}.downsample",
        name,
    )


@detectors.add("swin-t")
@final
class SwinT(Swin):
    """Swin-T at 224.

    The file of ``mmanikanta/SWIN-AI-Image-Detector`` loads with ``weights=PATH``, as does any
    Swin-T of two classes. Source: Liu et al., ICCV 2021.

    Args:
        size: side in pixels that images are resized to.
        patch: side of a patch in pixels.
        window: side of a window in patches.
        width: channels of the first stage.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage.
        pretrained: start from ImageNet weights, from a hub; only with the default numbers.
        fake_index: output of a two-class checkpoint that means AI-generated; 0 in the file named
            above.

    Raises:
        UnavailableError: the weights are not on this machine and no hub can be reached.
    """

    default_card = Card(
        name="swin-t",
        source="Liu et al., Swin Transformer, ICCV 2021; network from timm",
        summary="Swin-T at 224, 27.5 M parameters",
        code_licence="timm Apache-2.0; this class MIT",
        weights_licence="Apache-2.0 (mmanikanta/SWIN-AI-Image-Detector)",
        base_licence="MIT (ImageNet-1k, Microsoft), if pretrained",
        commercial=True,
        input_size=224,
        cam="net.norm",
        published=(
            "Tiny-GenImage 87.34, by a study whose code loads Swin-B; 98.74 (card of mmanikanta's"
            " checkpoint)"
        ),
    )
    small = MappingProxyType(
        {"size": 32, "patch": 2, "window": 4, "width": 24, "depths": [2, 2], "heads": [2, 4]}
    )

    def __init__(
        self,
        size: int = 224,
        patch: int = 4,
        window: int = 7,
        width: int = 96,
        depths: Sequence[int] = (2, 2, 6, 2),
        heads: Sequence[int] = (3, 6, 12, 24),
        pretrained: bool = False,
        fake_index: int = 0,
    ) -> None:
        super().__init__(
            size=size,
            patch=patch,
            window=window,
            width=width,
            depths=depths,
            heads=heads,
            pretrained=pretrained,
            fake_index=fake_index,
        )


@detectors.add("swin-c32")
@final
class SwinC32(Swin):
    """A small Swin at native 32 x 32, with maps of side 16, 8 and 4.

    Source: Liu et al., ICCV 2021.

    Args:
        patch: side of a patch in pixels.
        window: side of a window in patches.
        width: channels of the first stage.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage.
    """

    default_card = Card(
        name="swin-c32",
        source="Liu et al., Swin Transformer, ICCV 2021; network from timm",
        summary="Swin at 32 x 32, patches of 2, windows of 4, width 48, 2.2 M parameters",
        code_licence="timm Apache-2.0; this class MIT",
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
        cam="net.norm",
    )
    small = MappingProxyType({"width": 24, "depths": [2, 2], "heads": [2, 4]})

    def __init__(
        self,
        patch: int = 2,
        window: int = 4,
        width: int = 48,
        depths: Sequence[int] = (2, 2, 4),
        heads: Sequence[int] = (3, 6, 12),
    ) -> None:
        super().__init__(
            size=32, patch=patch, window=window, width=width, depths=depths, heads=heads
        )
