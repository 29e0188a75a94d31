"""A small detector with weights of its own, for tests of checkpoints."""

from typing import Any

import torch
from torch import Tensor

from robustbench_aigi.detectors import Detector, detectors

SMALL_VIT = {"size": 32, "patch": 8, "width": 24, "depth": 1, "heads": 3}


def other_weights(name: str = "vit-b16", **config: Any) -> Detector:
    """A small detector with weights of its own."""
    torch.manual_seed(7)
    return detectors.get(name)(**(config or SMALL_VIT)).eval()


def timm_state() -> dict[str, Tensor]:
    """Return the weights of a small ViT as timm names them."""
    return {
        name.removeprefix("net."): value for name, value in other_weights().state_dict().items()
    }


def logits_of(detector: Detector) -> Tensor:
    with torch.no_grad():
        return detector.logits(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
