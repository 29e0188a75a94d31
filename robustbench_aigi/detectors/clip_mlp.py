"""An MLP on the image embedding of CLIP."""

from typing import final

from robustbench_aigi.detectors._support.clip_detector import ClipDetector, mlp_head
from robustbench_aigi.detectors._support.clip_encoder import TINY_CLIP
from robustbench_aigi.detectors.base import OWN_CODE, Card, detectors


@detectors.add("clip-mlp")
@final
class ClipMLP(ClipDetector):
    """Frozen CLIP image encoder, then GELU units and one logit.

    Source: Ojha et al., CVPR 2023, which has a linear head.

    Args:
        model: a CLIP model, as in
            :func:`~robustbench_aigi.detectors._support.clip_encoder.load_clip`.
        pretrained: its tag, likewise.
        hidden: number of GELU units.

    Raises:
        UnavailableError: the encoder is not on this machine and no hub can be reached.
    """

    default_card = Card(
        name="clip-mlp",
        source="Ojha et al., UniversalFakeDetect, CVPR 2023; towers from open_clip",
        summary=(
            "frozen tiny CLIP (ours, captions name real and AI-generated; it stands in for OpenAI"
            " CLIP), MLP head"
        ),
        code_licence=OWN_CODE,
        weights_licence="MIT (tiny-clip, trained on CIFAKE)",
        base_licence="MIT",
        commercial=True,
        published=(
            "CIFAKE 94.01, static adversarial set 86.33 (CIFAKE++ study, a small network on CLIP"
            " embeddings)"
        ),
    )

    def __init__(
        self, model: str = TINY_CLIP, pretrained: str | None = None, hidden: int = 256
    ) -> None:
        super().__init__(model=model, pretrained=pretrained)
        self.head = mlp_head(self.width, hidden)
