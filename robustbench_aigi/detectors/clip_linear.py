"""UniversalFakeDetect: one linear layer on the image embedding of CLIP."""

from collections.abc import Mapping
from typing import final

from torch import Tensor, nn

from robustbench_aigi.detectors._support.resizing import centre_crop
from robustbench_aigi.detectors.base import OWN_CODE, Card, detectors
from robustbench_aigi.detectors.clip_mlp import TINY, ClipDetector


@detectors.add("clip-linear")
@final
class ClipLinear(ClipDetector):
    """Frozen CLIP image embedding, projected but not normalised, then one logit. Source: Ojha et
    al., CVPR 2023.

    The published detector is ``model="ViT-L-14-quickgelu"``, ``pretrained="openai"`` with the
    authors' ``fc_weights.pth`` as ``weights``: that file holds the head alone, and the tower keeps
    its own weights.

    Args:
        model, pretrained: the tower, as in :func:`~robustbench_aigi.detectors.clip_mlp.clip_model`.
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

    def __init__(self, model: str = TINY, pretrained: str | None = None) -> None:
        config = {"model": model, "pretrained": pretrained}
        super().__init__(config, model=model, pretrained=pretrained)
        self.head = nn.Linear(self.width, 1)
        nn.init.normal_(self.head.weight, std=0.02)

    def fitted(self, images: Tensor) -> Tensor:
        """The centre of the images; nothing is resized, so that traces of single pixels stay."""
        return centre_crop(images, (self.size, self.size))

    def adopted(self, tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """From ``fc_weights.pth``, the head alone: the tower keeps the weights it was built
        with.
        """
        if set(tensors) != {"weight", "bias"}:
            return tensors
        return self.state_dict() | {f"head.{name}": value for name, value in tensors.items()}
