from pathlib import Path
from typing import final

import numpy as np
import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from robustbench_aigi.detectors import Card, load_detector, save_detector
from robustbench_aigi.detectors._support.calibrated import Calibrated
from robustbench_aigi.detectors.clip_mlp import ClipMLP
from robustbench_aigi.detectors.rigid import Rigid
from robustbench_aigi.errors import DataError, TrainingCollapsedError, UnavailableError, UserError
from robustbench_aigi.training import Arrays, TrainingJob, train_detector
from robustbench_aigi.training.arrays import predict
from tests.test_training import easy


@final
class Brightness(Calibrated):
    """A training-free detector that suspects bright images."""

    default_card = Card(name="brightness", source="tests")

    def __init__(self, false_alarms: float = 0.05) -> None:
        super().__init__(false_alarms)

    def raw(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3))


def grey(levels: list[int], labels: list[int]) -> Arrays:
    """Flat images of these grey levels."""
    return Arrays(
        torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).repeat(1, 3, 4, 4),
        torch.tensor(labels),
    )


@given(seed=st.integers(0, 2**31 - 1), false_alarms=st.floats(0.01, 0.5))
def test_calibration_finds_the_direction_and_keeps_false_alarms_below_the_level(
    seed: int, false_alarms: float
) -> None:
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, 2, 60), [0, 1])
    data = grey(rng.integers(0, 256, 62).tolist(), labels.tolist())
    detector = Brightness(false_alarms)
    detector.prepare(data, data)
    logits = predict(detector, data.images).numpy()
    assert roc_auc_score(labels, logits) >= 0.5
    assert (logits[labels == 0] > 0).mean() <= false_alarms


@pytest.mark.parametrize("bright", [0, 1])
def test_the_direction_is_measured(bright: int) -> None:
    detector = Brightness()
    assert "NOT CALIBRATED" in detector.card.orientation
    data = grey([10, 20, 30, 200, 210, 220], [1 - bright] * 3 + [bright] * 3)
    detector.prepare(data, data)
    assert detector.direction == (1 if bright else -1)
    assert ("as published" if bright else "opposite") in detector.card.orientation
    assert "AUC 1.000" in detector.card.orientation
    assert ((predict(detector, data.images) > 0) == (data.labels == 1)).all()


def test_what_cannot_be_calibrated_says_so() -> None:
    with pytest.raises(DataError, match="one class"):
        Brightness().prepare(grey([1, 2], [0, 0]), grey([1, 2], [0, 0]))
    with pytest.raises(TrainingCollapsedError, match="alike"):
        Brightness().prepare(grey([7, 7], [0, 1]), grey([7, 7], [0, 1]))
    with pytest.raises(UserError, match="between 0 and 1"):
        Brightness(false_alarms=5)


def test_a_checkpoint_holds_the_calibration(images: Tensor, tmp_path: Path) -> None:
    detector, history = train_detector(TrainingJob(detector="rigid", epochs=3), easy(8), easy(40))
    assert len(history.rows) == 1
    assert isinstance(detector, Rigid)
    assert detector.scale != 1
    save_detector(detector, tmp_path / "rigid.safetensors")
    again = load_detector(str(tmp_path / "rigid.safetensors"))
    assert torch.equal(again.logits(images), detector.logits(images))
    assert again.card.orientation == detector.card.orientation != Rigid().card.orientation
    with pytest.raises(UserError, match="no weights to train by pgd"):
        train_detector(TrainingJob(detector="rigid", method="pgd", epochs=1), easy(8), easy(40))


def test_rigid_is_one_minus_the_cosine_of_features(images: Tensor) -> None:
    rigid = Rigid(draws=3)
    other = ClipMLP()
    with torch.no_grad():
        clean = other.embed(images)
        moved = [
            1 - F.cosine_similarity(other.embed(images + noise), clean) for noise in rigid.noise
        ]
        torch.testing.assert_close(
            rigid.raw(images), torch.stack(moved).mean(0), atol=1e-6, rtol=1e-3
        )
    assert float(rigid.noise.std()) == pytest.approx(0.05, rel=0.05)
    assert torch.equal(rigid.noise, Rigid(draws=3).noise)
    assert not torch.equal(rigid.noise, Rigid(draws=3, seed=1).noise)


@pytest.mark.parametrize("backbone", ["vit_tiny_patch16_224", "resnet10t"])
def test_rigid_takes_any_timm_backbone(backbone: str) -> None:
    torch.manual_seed(0)
    rigid = Rigid(backbone=backbone, size=48).eval()
    numbers = {"img_size": 48} if backbone.startswith("vit") else {}
    net = timm.create_model(backbone, num_classes=0, **numbers).eval()
    net.load_state_dict(rigid.backbone.state_dict())
    assert rigid.card.input_size == 48
    assert rigid.get_submodule(rigid.card.cam) is not rigid
    images = torch.rand(2, 3, 48, 96, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(net.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    with torch.no_grad():
        centre = images[..., 24:72]
        clean, moved = (net((batch - mean) / std) for batch in (centre, centre + rigid.noise[0]))
        expected = 1 - F.cosine_similarity(clean, moved)
        torch.testing.assert_close(rigid.raw(images), expected, atol=1e-6, rtol=1e-3)


def test_rigids_backbone_out_of_reach_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*args: object, **numbers: object) -> None:
        raise OSError("no route to the hub")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(UnavailableError, match="weights=PATH"):
        Rigid(backbone="vit_small_patch14_dinov2.lvd142m", pretrained=True)
