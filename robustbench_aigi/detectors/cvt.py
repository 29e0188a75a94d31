"""CvT, at 224 and at native 32 x 32."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import final

from torch import Tensor

from robustbench_aigi.detectors._support.backbone import Backbone
from robustbench_aigi.detectors._support.convolutional_transformer import ConvolutionalTransformer
from robustbench_aigi.detectors.base import FROM_SCRATCH, NO_WEIGHTS, OWN_CODE, Card, detectors

PROJECTION_NAME = r"attention\.attention\.convolution_projection_(\w+)\.convolution_projection\."
OWN_NAMES = (
    (r"^cvt\.encoder\.", ""),
    (r"embedding\.convolution_embeddings\.projection", "embed"),
    (r"embedding\.convolution_embeddings\.normalization", "embed_norm"),
    (r"\.layers\.", ".blocks."),
    (PROJECTION_NAME + "convolution", r"attn.conv.\1.0"),
    (PROJECTION_NAME + "normalization", r"attn.conv.\1.1"),
    (r"attention\.attention\.projection_(\w+)", r"attn.linear.\1"),
    (r"attention\.output\.dense", "attn.proj"),
    (r"intermediate\.dense", "mlp.fc1"),
    (r"output\.dense", "mlp.fc2"),
    (r"layernorm_before", "norm1"),
    (r"layernorm_after", "norm2"),
    (r"^layernorm", "norm"),
    (r"^classifier", "head"),
)
"""Patterns in Hugging Face's names, and our names, applied in this order."""


class CvT(Backbone):
    """A CvT whose class token gives the logit.

    Args:
        size: side in pixels that images are resized to.
        dims: channels of each stage.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage.
        stem: stride of the first convolution.
        fake_index: output of a two-class checkpoint that means AI-generated.
    """

    def __init__(
        self,
        *,
        size: int,
        dims: Sequence[int],
        depths: Sequence[int],
        heads: Sequence[int],
        stem: int,
        fake_index: int = 1,
    ) -> None:
        net = ConvolutionalTransformer(dims, depths, heads, stem)
        cam = f"net.stages.{len(dims) - 1}.blocks.{depths[-1] - 1}.norm1"
        super().__init__(net, size=size, cam=cam, fake_index=fake_index)

    def renamed(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Rename ``tensors`` from Hugging Face's names."""
        named = {}
        for name, value in tensors.items():
            new = name
            for theirs, ours in OWN_NAMES:
                new = re.sub(theirs, ours, new)
            named[new] = value
        return named


@detectors.add("cvt-13")
@final
class CvT13(CvT):
    """CvT-13 at 224.

    The file of ``microsoft/cvt-13`` loads with ``weights=PATH``; a fresh head, to be trained,
    replaces its 1000 classes. A CvT-13 that was fine-tuned on two classes loads with its head.
    Source: Wu et al., CvT, ICCV 2021.

    Args:
        size: side in pixels that images are resized to.
        dims: channels of each stage.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage.
        stem: stride of the first convolution; 4, with a 7 x 7 kernel, as published, else the kernel
            is 3 x 3.
        fake_index: output of a two-class checkpoint that means AI-generated.
    """

    default_card = Card(
        name="cvt-13",
        source=(
            "Wu et al., CvT: Introducing Convolutions to Vision Transformers, ICCV 2021; own"
            " network"
        ),
        summary="CvT-13 at 224, 19.6 M parameters",
        code_licence=OWN_CODE,
        weights_licence=NO_WEIGHTS,
        base_licence="MIT (microsoft/cvt-13), if loaded",
        commercial=True,
        input_size=224,
        cam="net.stages.2.blocks.9.norm1",
        published="Tiny-GenImage 83.32",
    )
    small = MappingProxyType(
        {"size": 32, "dims": [16, 24, 32], "depths": [1, 1, 2], "heads": [1, 2, 4], "stem": 2}
    )

    def __init__(
        self,
        size: int = 224,
        dims: Sequence[int] = (64, 192, 384),
        depths: Sequence[int] = (1, 2, 10),
        heads: Sequence[int] = (1, 3, 6),
        stem: int = 4,
        fake_index: int = 1,
    ) -> None:
        super().__init__(
            size=size, dims=dims, depths=depths, heads=heads, stem=stem, fake_index=fake_index
        )


@detectors.add("cvt-c32")
@final
class CvTC32(CvT):
    """A small CvT at native 32 x 32, with maps of side 16, 8 and 4.

    Source: Wu et al., CvT, ICCV 2021.

    Args:
        dims: channels of each stage.
        depths: number of blocks of each stage.
        heads: number of attention heads of each stage.
    """

    default_card = Card(
        name="cvt-c32",
        source=(
            "Wu et al., CvT: Introducing Convolutions to Vision Transformers, ICCV 2021; own"
            " network"
        ),
        summary="CvT at 32 x 32, strides of 2, widths 32, 96 and 160, 1.7 M parameters",
        code_licence=OWN_CODE,
        weights_licence=NO_WEIGHTS,
        base_licence=FROM_SCRATCH,
        commercial=True,
        cam="net.stages.2.blocks.3.norm1",
    )
    small = MappingProxyType({"dims": [16, 24, 32], "depths": [1, 1, 2], "heads": [1, 2, 4]})

    def __init__(
        self,
        dims: Sequence[int] = (32, 96, 160),
        depths: Sequence[int] = (1, 2, 4),
        heads: Sequence[int] = (1, 3, 5),
    ) -> None:
        super().__init__(size=32, dims=dims, depths=depths, heads=heads, stem=2)
