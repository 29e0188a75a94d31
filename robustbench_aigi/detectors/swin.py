"""Swin Transformers, at 224 and at native 32 x 32."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, final

from torch import Tensor

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.timm_backbones import timm_backbone
from robustbench_aigi.detectors.base import FROM_SCRATCH, NO_WEIGHTS, Card, detectors
from robustbench_aigi.detectors.vit import from_hugging_face


class Swin(Backbone):
    """A Swin whose mean token gives the logit."""

    head: ClassVar[str] = "head.fc"

    def __init__(
        self,
        config: dict[str, Any],
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
        numbers = {"img_size": size, "patch_size": patch, "window_size": window, "embed_dim": width}
        shape = {"depths": tuple(depths), "num_heads": tuple(heads)}
        name = "swin_tiny_patch4_window7_224.ms_in1k"
        net = timm_backbone(name, pretrained=pretrained, num_classes=1, **numbers, **shape)
        super().__init__(net, config, size=size, cam="net.norm", fake_index=fake_index)

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From timm's names, or Hugging Face's, where merging ends a stage; in timm's it begins the
        next one.
        """

        def later(found: re.Match[str]) -> str:
            return f"layers.{int(found[1]) + 1}.downsample"

        moved = {
            re.sub(r"encoder\.layers\.(\d+)\.downsample", later, name): value
            for name, value in tensors.items()
        }
        counted = ("relative_position_index", "attn_mask")
        learned = {name: value for name, value in moved.items() if not name.endswith(counted)}
        return from_hugging_face(learned, "swin.", self.head)


@detectors.add("swin-t")
@final
class SwinT(Swin):
    """Swin-T at 224. Source: Liu et al., ICCV 2021.

    The file of ``mmanikanta/SWIN-AI-Image-Detector`` loads with ``weights=PATH``, as does any
    Swin-T of two classes.

    Args:
        size: side that images are resized to. patch, window: sides of a patch and, in patches, of a
            window.
        width: channels of the first stage. depths, heads: blocks and attention heads of each stage.
        pretrained: begin with ImageNet's weights, from a hub; only with the other numbers as they
            are.
        fake_index: the output of a two-class checkpoint that means AI-generated; 0 in the file
            named above.
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
        config: dict[str, Any] = {"size": size, "patch": patch, "window": window, "width": width}
        config |= {
            "depths": list(depths),
            "heads": list(heads),
            "pretrained": pretrained,
            "fake_index": fake_index,
        }
        super().__init__(config, **config)


@detectors.add("swin-c32")
@final
class SwinC32(Swin):
    """A small Swin at native 32 x 32, its maps 16, 8 and 4 wide. Source: Liu et al., ICCV 2021.

    Args:
        patch, window: sides of a patch and, in patches, of a window.
        width: channels of the first stage. depths, heads: blocks and attention heads of each stage.
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
        config: dict[str, Any] = {"patch": patch, "window": window, "width": width}
        config |= {"depths": list(depths), "heads": list(heads)}
        super().__init__(config, size=32, **config)
