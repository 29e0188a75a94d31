"""Contract tests of detectors that need more than ``robustbench_aigi.testing`` asks of anyone."""

from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors.external import load_external
from robustbench_aigi.imaging.pixels import to_bytes
from robustbench_aigi.testing import check_detector, gradient_error
from robustbench_aigi.training import TrainConfig, fit
from robustbench_aigi.training.arrays import Arrays, predict

__all__ = ["auc_after_a_short_fit", "built", "check_contract", "gradient_error"]


def built(address: str, **config: Any) -> Detector:
    """The detector at an address."""
    detector = load_external(address, **config)
    assert detector is not None
    return detector


def check_contract(detector: Detector, images: Tensor, folder: Path) -> None:
    """The published contract, and a part for Grad-CAM."""
    check_detector(detector, images, folder=folder)
    assert isinstance(detector.get_submodule(detector.card.cam), torch.nn.Module)


def auc_after_a_short_fit(detector: Detector, images: Tensor) -> float:
    """Return the AUC after a short fit on bright images against dark ones."""
    labels = torch.arange(16) % 2
    bright = (images.repeat(4, 1, 1, 1) * 0.5 + 0.3 * labels.view(-1, 1, 1, 1)).clamp(0, 1)
    data = Arrays(to_bytes(bright), labels)
    fit(detector, data, data, TrainConfig(epochs=5, batch=8, warmup=0.0))
    return float(roc_auc_score(labels, predict(detector, data.images)))
