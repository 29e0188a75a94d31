"""C9: a detector whose author states no licence is never declared free; those of this project state
their own.
"""

from typing import final

import pytest
import torch
from torch import Tensor, nn

import robustbench_aigi as rb
from robustbench_aigi.detectors import Card, Detector, detectors
from robustbench_aigi.report.html.page import _licences

STATED = {
    "aeroblade": (
        "MIT; own implementation",
        "MIT (small-autoencoder, trained on fakes of CIFAKE and mini)",
        "CreativeML OpenRAIL (Stable Diffusion's autoencoders), if asked for",
        True,
    ),
    "cifake-cnn": ("MIT", "none: no weights are shipped", "none: trained from scratch", True),
    "clip-linear": (
        "MIT",
        "MIT (tiny-clip, trained on CIFAKE; the authors' fc_weights.pth)",
        "MIT (OpenAI CLIP, if asked for)",
        True,
    ),
    "clip-mlp": ("MIT", "MIT (tiny-clip, trained on CIFAKE)", "MIT", True),
    "cnndetection": (
        "timm Apache-2.0; this class MIT",
        "CC-BY-NC-SA-4.0 (the authors' checkpoints)",
        "none: trained from scratch",
        False,
    ),
    "commfor-224": (
        "timm Apache-2.0; this class MIT",
        "MIT (OwensLab/commfor-model-224)",
        "Apache-2.0 (ImageNet-21k, augreg), if pretrained",
        True,
    ),
    "commfor-384": (
        "timm Apache-2.0; this class MIT",
        "MIT (OwensLab/commfor-model-384)",
        "Apache-2.0 (ImageNet-21k, augreg), if pretrained",
        True,
    ),
    "convnextv2": (
        "timm Apache-2.0; this class MIT",
        "MIT (the card's checkpoint)",
        "CC-BY-NC-4.0 (ImageNet weights), if pretrained or fine-tuned from them",
        False,
    ),
    "cvt-13": ("MIT", "none: no weights are shipped", "MIT (microsoft/cvt-13), if loaded", True),
    "cvt-c32": ("MIT", "none: no weights are shipped", "none: trained from scratch", True),
    "dire": (
        "MIT; own implementation",
        "MIT (mini-diffusion)",
        "as of the diffusion model, if one is asked for",
        True,
    ),
    "fft-vae": ("MIT", "none: no weights are shipped", "none: trained from scratch", True),
    "gapl": ("MIT", "MIT (tiny-clip; the authors' checkpoint.pt)", "MIT", True),
    "npr": (
        "MIT (written from the paper; the authors' code states no licence); timm Apache-2.0",
        "none stated (the authors' NPR.pth): all rights reserved",
        "none: trained from scratch",
        False,
    ),
    "npr-multiscale": (
        ("MIT (written from a description; the study's code states no licence); timm Apache-2.0"),
        "none stated (the study's checkpoints): all rights reserved",
        "none: trained from scratch",
        False,
    ),
    "resnet18-c32": ("MIT", "none: no weights are shipped", "none: trained from scratch", True),
    "resnet50": (
        "timm Apache-2.0",
        "none: no weights are shipped",
        "BSD-3-Clause (torchvision), if pretrained",
        True,
    ),
    "resnet50-attn-bnn": (
        ("MIT (written from a description; the study's code states no licence); timm Apache-2.0"),
        "none: no weights are shipped",
        "BSD-3-Clause (torchvision), if pretrained",
        True,
    ),
    "resnet50-bnn": (
        ("MIT (written from a description; the study's code states no licence); timm Apache-2.0"),
        "none: no weights are shipped",
        "BSD-3-Clause (torchvision), if pretrained",
        True,
    ),
    "resnet50-c32": (
        "MIT; timm Apache-2.0",
        "none: no weights are shipped",
        "none: trained from scratch",
        True,
    ),
    "rigid": (
        "MIT",
        "MIT (tiny-clip, trained on CIFAKE)",
        "Apache-2.0 (DINOv2, if asked for)",
        True,
    ),
    "robust-clip": (
        "MIT",
        "MIT (tiny-clip, trained on CIFAKE)",
        "MIT (OpenAI CLIP, LAION CLIP and the FARE and TeCoA towers)",
        True,
    ),
    "spai": (
        "MIT (re-implementation; the authors' code is Apache-2.0); timm Apache-2.0",
        "Apache-2.0 (the authors' spai.pth)",
        "none: trained from scratch",
        True,
    ),
    "swin-c32": (
        "timm Apache-2.0; this class MIT",
        "none: no weights are shipped",
        "none: trained from scratch",
        True,
    ),
    "swin-t": (
        "timm Apache-2.0; this class MIT",
        "Apache-2.0 (mmanikanta/SWIN-AI-Image-Detector)",
        "MIT (ImageNet-1k, Microsoft), if pretrained",
        True,
    ),
    "tinyvit-11m": (
        "MIT; timm Apache-2.0",
        "none: no weights are shipped",
        "MIT (TinyViT, distilled on ImageNet-22k), if pretrained; else none",
        True,
    ),
    "tinyvit-21m": (
        "MIT; timm Apache-2.0",
        "none: no weights are shipped",
        "MIT (TinyViT, distilled on ImageNet-22k), if pretrained; else none",
        True,
    ),
    "tinyvit-5m": (
        "MIT; timm Apache-2.0",
        "none: no weights are shipped",
        "MIT (TinyViT, distilled on ImageNet-22k), if pretrained; else none",
        True,
    ),
    "vit-b16": (
        "timm Apache-2.0; this class MIT",
        "Apache-2.0 (dima806/ai_vs_real_image_detection)",
        "Apache-2.0 (ImageNet-21k, augreg), if pretrained",
        True,
    ),
    "vit-c32": (
        "timm Apache-2.0; this class MIT",
        "none: no weights are shipped",
        "none: trained from scratch",
        True,
    ),
    "vit-cnn": (
        "timm Apache-2.0; this class MIT; the study's code states none",
        "none: no weights are shipped",
        "Apache-2.0 (ImageNet-21k, augreg), if pretrained",
        True,
    ),
    "vit-cnn-c32": (
        "timm Apache-2.0; this class MIT; the study's code states none",
        "none: no weights are shipped",
        "none: trained from scratch",
        True,
    ),
}
"""Licences of code, weights and base, and whether they permit commercial use, as commit 00626f6
stated them.
"""


@final
class Unstated(Detector):
    """A detector of somebody who filled in what a card asks for, and no more."""

    default_card = Card(name="unstated", source="somebody")

    def logits(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))


@pytest.mark.parametrize("name", sorted(STATED))
def test_licences_of_built_in_detectors_have_not_changed(name: str) -> None:
    card = detectors.get(name).default_card
    stated = (card.code_licence, card.weights_licence, card.base_licence, card.commercial)
    assert stated == STATED[name]
    for field in ("code_licence", "weights_licence", "base_licence", "commercial"):
        assert field in card.model_fields_set, "stated, not left to a default"


def test_every_built_in_detector_is_in_the_table() -> None:
    assert set(STATED) <= set(detectors.names())


def test_a_detector_that_states_no_licence_is_not_cleared() -> None:
    wrapped = rb.wrap(nn.Flatten(), input_size=1)
    addressed = rb.load_detector(f"{__name__}:Unstated")
    for card in (Unstated().card, wrapped.card, addressed.card):
        assert (card.code_licence, card.weights_licence, card.base_licence) == (
            "unknown",
            "unknown",
            "unknown",
        )
        assert not card.commercial
    stated = rb.wrap(nn.Flatten(), input_size=1, code_licence="MIT", commercial=True).card
    assert stated.commercial
    assert stated.code_licence == "MIT"
    assert float(addressed.logits(torch.ones(1, 3, 8, 8))[0]) == 1.0


def test_the_report_reads_well_where_no_licence_is_stated() -> None:
    facts = {
        "detectors": {
            "mine": Unstated().card.model_dump(),
            "npr": detectors.get("npr").default_card.model_dump(),
        }
    }
    unstated, npr = _licences(facts)
    assert unstated == "mine is not cleared for commercial use: its card states no licence."
    assert npr.startswith("npr is not for commercial use. Weights: none stated")
