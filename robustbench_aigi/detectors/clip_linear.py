"""UniversalFakeDetect: one linear layer on the image embedding of CLIP."""

from collections.abc import Mapping
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from robustbench_aigi.detectors._support.clip_detector import ClipDetector
from robustbench_aigi.detectors._support.clip_encoder import TINY_CLIP
from robustbench_aigi.detectors._support.resizing import centre_crop
from robustbench_aigi.detectors.base import OWN_CODE, Card, detectors


@detectors.add("clip-linear")
@final
class ClipLinear(ClipDetector):
    """Frozen CLIP image encoder, its embedding not normalised, then one logit.

    The published detector is ``model="ViT-L-14-quickgelu"``, ``pretrained="openai"`` with the
    authors' ``fc_weights.pth`` as ``weights``. That file holds the head only; the encoder keeps its
    own weights. Source: Ojha et al., CVPR 2023.

    Args:
        model: a CLIP model, as in
            :func:`~robustbench_aigi.detectors._support.clip_encoder.load_clip`.
        pretrained: its tag, likewise.

    Raises:
        UnavailableError: the encoder is not on this machine and no hub can be reached.
    """

    default_card = Card(
        name="clip-linear",
        source=(
            "Ojha et al., Towards Universal Fake Image Detectors, CVPR 2023 (UniversalFakeDetect,"
            " UniFD)"
        ),
        summary="frozen tiny CLIP (ours; the published tower is OpenAI ViT-L/14), linear head",
        code_licence=OWN_CODE,
        weights_licence="MIT (tiny-clip, trained on CIFAKE; the authors' fc_weights.pth)",
        base_licence="MIT (OpenAI CLIP, if asked for)",
        commercial=True,
        resize=(
            "none: centre crop to the input size, smaller images padded with black, inside the"
            " detector"
        ),
        published="AIGCDetectBenchmark average 78.43; AIGIBench real 73.3, fake 71.5 (ViT-L/14)",
    )

    def __init__(self, model: str = TINY_CLIP, pretrained: str | None = None) -> None:
        super().__init__(model=model, pretrained=pretrained)
        self.head = nn.Linear(self.width, 1)
        nn.init.normal_(self.head.weight, std=0.02)

    def fitted(self, images: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 height width"]:
        """Crop the centre of ``images``, ``(N, 3, H, W)``; resizing would blur its traces."""
        return centre_crop(images, (self.size, self.size))

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Read ``fc_weights.pth``, which holds the head only, or a whole state dict.

        Args:
            tensors: tensors under their authors' names.
        """
        if set(tensors) != {"weight", "bias"}:
            return tensors
        return self.state_dict() | {f"head.{name}": value for name, value in tensors.items()}
