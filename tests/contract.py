"""Checks that every detector passes, whatever it is and wherever it comes from."""

from pathlib import Path
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from robustbench_aigi.detectors import Detector, load_detector, save_detector
from robustbench_aigi.detectors.external import load_external
from robustbench_aigi.imaging.pixels import to_bytes
from robustbench_aigi.training import TrainConfig, fit
from robustbench_aigi.training.arrays import Arrays, predict

IMAGE_SIZES = ((32, 32), (33, 33), (224, 224), (45, 61), (300, 40), (512, 512))


def built(address: str, **config: Any) -> Detector:
    """The detector at an address."""
    detector = load_external(address, **config)
    assert detector is not None
    return detector


def check_contract(detector: Detector, images: Tensor, folder: Path) -> None:
    """Check sizes, independence of the batch, and a file that builds the same detector again."""
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        logits = detector.logits(images)
        assert logits.shape == (4,)
        assert torch.isfinite(logits).all()
        assert torch.equal(detector(images), logits)
        alone = torch.cat([detector.logits(image[None]) for image in images])
        torch.testing.assert_close(alone, logits, atol=1e-4, rtol=1e-4)
        for size in IMAGE_SIZES:
            assert detector.logits(torch.rand(1, 3, *size, generator=rng)).isfinite().all()
        save_detector(detector, folder / "saved.safetensors")
        again = load_detector(str(folder / "saved.safetensors"))
        assert torch.equal(again.logits(images), logits)
    assert again.config == detector.config
    assert again.card.name == detector.card.name
    assert again.card.weights.startswith("sha256:")
    assert isinstance(detector.get_submodule(detector.card.cam), torch.nn.Module)


def gradient_error(detector: Detector, images: Tensor) -> float:
    """Return the largest relative error of a gradient against finite differences.

    It is taken where the gradient is largest. A cut in the graph, or preprocessing outside it,
    would show here; for BPDA, whose step is smooth by declaration only, it is 0.
    """
    detector = detector.double()
    leaf = images.double().requires_grad_(True)
    (slope,) = torch.autograd.grad(detector.logits(leaf).sum(), leaf)
    assert torch.isfinite(slope).all()
    assert (slope.flatten(1).abs().amax(dim=1) > 0).all()
    places = (
        [] if detector.card.gradient == "bpda" else slope.flatten().abs().topk(3).indices.tolist()
    )
    errors = [0.0]
    for place in places:
        step = (
            torch.zeros(slope.numel(), dtype=torch.float64)
            .index_fill_(0, torch.tensor(place), 1e-5)
            .view_as(leaf)
        )
        with torch.no_grad():
            rise = detector.logits(leaf + step).sum() - detector.logits(leaf - step).sum()
        errors.append(abs(float(rise) / 2e-5 / float(slope.flatten()[place]) - 1))
    detector.float()
    return max(errors)


def auc_after_a_short_fit(detector: Detector, images: Tensor) -> float:
    """Return the AUC after a short fit on bright images against dark ones."""
    labels = torch.arange(16) % 2
    bright = (images.repeat(4, 1, 1, 1) * 0.5 + 0.3 * labels.view(-1, 1, 1, 1)).clamp(0, 1)
    data = Arrays(to_bytes(bright), labels)
    fit(detector, data, data, TrainConfig(epochs=5, batch=8, warmup=0.0))
    return float(roc_auc_score(labels, predict(detector, data.images)))
