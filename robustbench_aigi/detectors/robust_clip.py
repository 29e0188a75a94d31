"""Detectors on CLIP image encoders that were fine-tuned against attacks: FARE and TeCoA."""

from types import MappingProxyType
from typing import NamedTuple, final

from torch import nn

from robustbench_aigi.detectors._support.clip_detector import ClipDetector, mlp_head
from robustbench_aigi.detectors._support.clip_encoder import TINY_CLIP
from robustbench_aigi.detectors.base import OWN_CODE, Card, detectors
from robustbench_aigi.errors import UserError


class Variant(NamedTuple):
    """A public image encoder.

    Attributes:
        model: its open_clip name.
        quick_gelu: whether it was fine-tuned from OpenAI's weights, which need QuickGELU.
    """

    model: str
    quick_gelu: bool = False


ROBUST_ENCODERS = MappingProxyType(
    {
        TINY_CLIP: Variant(TINY_CLIP),
        "fare2": Variant("hf-hub:chs20/fare2-clip", quick_gelu=True),
        "fare4": Variant("hf-hub:chs20/fare4-clip", quick_gelu=True),
        "tecoa2": Variant("hf-hub:chs20/tecoa2-clip", quick_gelu=True),
        "tecoa4": Variant("hf-hub:chs20/tecoa4-clip", quick_gelu=True),
        "fare4-b32": Variant("hf-hub:chs20/FARE4-ViT-B-32-laion2B-s34B-b79K"),
        "tecoa4-b32": Variant("hf-hub:chs20/TeCoA4-ViT-B-32-laion2B-s34B-b79K"),
        "fare4-b16": Variant("hf-hub:chs20/FARE4-ViT-B-16-laion2B-s34B-b88K"),
        "tecoa4-b16": Variant("hf-hub:chs20/TeCoA4-ViT-B-16-laion2B-s34B-b88K"),
        "fare4-convnext": Variant("hf-hub:chs20/FARE4-convnext_base_w-laion2B-s13B-b82K-augreg"),
        "tecoa4-convnext": Variant("hf-hub:chs20/TeCoA4-convnext_base_w-laion2B-s13B-b82K-augreg"),
    }
)
"""Encoders by name; 2 and 4 are the L-inf radius in grey levels that they were trained against.

Without a suffix it is OpenAI's ViT-L/14.
"""


@detectors.add("robust-clip")
@final
class RobustClip(ClipDetector):
    """A robust CLIP image encoder, frozen, and a head.

    The default encoder, the shipped tiny CLIP, is robust only after training by FARE or TeCoA.
    Source: Schlarmann et al., ICML 2024; Mao et al., ICLR 2023.

    Args:
        variant: a name in :data:`ROBUST_ENCODERS`, or an open_clip name such as
            ``local-dir:FOLDER``.
        head: ``linear`` or ``mlp``.
        hidden: number of GELU units of the MLP.
        quick_gelu: for an encoder by open_clip name that was fine-tuned from OpenAI's weights.

    Raises:
        UnavailableError: the encoder is not on this machine and no hub can be reached.
        UserError: no such head or encoder.
    """

    default_card = Card(
        name="robust-clip",
        source=(
            "Schlarmann et al., Robust CLIP (FARE), ICML 2024; Mao et al. (TeCoA), ICLR 2023;"
            " towers chs20/*-clip"
        ),
        summary=(
            "FARE or TeCoA tower (default: tiny CLIP, ours, not robust before training), linear or"
            " MLP head"
        ),
        code_licence=OWN_CODE,
        weights_licence="MIT (tiny-clip, trained on CIFAKE)",
        base_licence="MIT (OpenAI CLIP, LAION CLIP and the FARE and TeCoA towers)",
        commercial=True,
        published=(
            "97.23 on adversarial CIFAKE, poor elsewhere (CIFAKE++ study). Zero-shot mean at eps 0"
            " / 2 / 4: FARE2 67.0 / 43.1 / 20.5, FARE4 61.1 / 45.9 / 32.4, TeCoA2 60.0 / 43.6 /"
            " 27.0, TeCoA4 54.2 / 42.3 / 31.9; that is of what images show, not of generators'"
            " traces"
        ),
    )

    def __init__(
        self,
        variant: str = TINY_CLIP,
        head: str = "mlp",
        hidden: int = 256,
        quick_gelu: bool = False,
    ) -> None:
        if head not in ("linear", "mlp"):
            raise UserError(
                f"head must be linear or mlp, got {head!r}. Write head='linear' for a single layer."
            )
        if variant not in ROBUST_ENCODERS and ":" not in variant:
            raise UserError(
                f"no robust encoder called {variant!r}. Write one of"
                f" {', '.join(ROBUST_ENCODERS)}, or local-dir:FOLDER."
            )
        encoder = ROBUST_ENCODERS.get(variant, Variant(variant, quick_gelu))
        super().__init__(model=encoder.model, quick_gelu=encoder.quick_gelu)
        self.head = nn.Linear(self.width, 1) if head == "linear" else mlp_head(self.width, hidden)
