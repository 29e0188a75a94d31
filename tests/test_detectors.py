from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robustbench_aigi.detectors import detectors, load_detector, save_detector, wrap
from robustbench_aigi.errors import BadCheckpoint, UnknownName, UserError


@pytest.mark.parametrize("name", detectors.names())
def test_contract(name: str, images: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = load_detector(name)
    leaf = images.clone().requires_grad_(True)
    logits = detector.logits(leaf)
    assert logits.shape == (4,)
    (slope,) = torch.autograd.grad(logits.sum(), leaf)
    assert torch.isfinite(slope).all()
    assert (slope.flatten(1).abs().amax(dim=1) > 0).all()
    with torch.no_grad():
        assert torch.equal(detector.logits(images), detector(images))
        alone = torch.cat([detector.logits(image[None]) for image in images])
        torch.testing.assert_close(alone, logits, atol=1e-4, rtol=1e-4)
        assert detector.logits(torch.rand(1, 3, 45, 61)).shape == (1,)
    assert detector.card.name == name
    assert detector.card.source
    path = tmp_path / "weights.safetensors"
    save_detector(detector, path)
    again = load_detector(str(path))
    assert again.config == detector.config
    assert torch.equal(again.logits(images), detector.logits(images))
    assert again.card.weights.startswith("sha256:")


def test_half_precision_checkpoint_loads_as_float32(images: Tensor, tmp_path: Path) -> None:
    detector = load_detector("cifake-cnn")
    save_detector(detector, tmp_path / "half.safetensors", half=True)
    again = load_detector("cifake-cnn", weights=tmp_path / "half.safetensors")
    assert all(p.dtype == torch.float32 for p in again.parameters())
    torch.testing.assert_close(again.logits(images), detector.logits(images), atol=1e-2, rtol=1e-2)


def test_checkpoints_that_do_not_fit_say_so(tmp_path: Path) -> None:
    path = tmp_path / "cnn.safetensors"
    save_detector(load_detector("cifake-cnn"), path)
    with pytest.raises(BadCheckpoint, match="cifake-cnn"):
        load_detector("tinyvit-5m", weights=path)
    with pytest.raises(BadCheckpoint, match="no checkpoint at"):
        load_detector(str(tmp_path / "none.safetensors"))
    (tmp_path / "junk.safetensors").write_bytes(b"junk")
    with pytest.raises(BadCheckpoint, match="not a safetensors file"):
        load_detector(str(tmp_path / "junk.safetensors"))
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors", metadata={"detector": "cifake-cnn"})
    with pytest.raises(BadCheckpoint, match="does not fit"):
        load_detector(str(tmp_path / "other.safetensors"))
    save_file({"a": torch.zeros(1)}, tmp_path / "bare.safetensors")
    with pytest.raises(BadCheckpoint, match="does not say"):
        load_detector(str(tmp_path / "bare.safetensors"))
    with pytest.raises(UnknownName, match="cifake-cnn"):
        load_detector("cifake_cnn")


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("fake_index", [0, 1])
def test_wrap_keeps_the_orientation(outputs: int, fake_index: int, images: Tensor) -> None:
    head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, outputs))
    detector = wrap(head, input_size=16, fake_index=fake_index, mean=(0.5,) * 3, std=(0.5,) * 3)
    raw = head((nn.functional.interpolate(images, size=(16, 16), mode="bilinear", antialias=True) - 0.5) / 0.5)
    expected = raw[:, 0] if outputs == 1 else raw[:, 1] - raw[:, 0]
    torch.testing.assert_close(detector.logits(images), expected if fake_index == 1 else -expected)


def test_wrap_refuses_what_it_cannot_read(images: Tensor) -> None:
    with pytest.raises(UserError, match="0 or 1"):
        wrap(nn.Identity(), input_size=16, fake_index=2)
    three = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    with pytest.raises(UserError, match="1 or 2 outputs"):
        wrap(three, input_size=16).logits(images)
