"""Weights given in an address, and where a training starts from (cases B6 and B16)."""

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from robustbench_aigi.detectors import (
    Detector,
    load_detector,
    load_trained,
    save_detector,
    shipped_names,
)
from robustbench_aigi.detectors._support.checkpoints import shipped as shipping
from robustbench_aigi.detectors.loading import begun_from
from robustbench_aigi.errors import CheckpointError, UnknownNameError, UserError
from robustbench_aigi.io.hashing import weights_digest
from robustbench_aigi.pipeline.train import train


@pytest.mark.parametrize("end", [".pth", ".pt", ".bin", ".ckpt", ".safetensors"])
def test_a_file_that_does_not_say_its_detector_is_told_how_to_be_named(
    end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"a{end}"
    state = timm.create_model("tiny_vit_5m_224", num_classes=1).state_dict()
    torch.save(state, path) if end != ".safetensors" else save_file(state, path)
    with pytest.raises(
        CheckpointError, match=rf"does not say which detector .*weights={re.escape(str(path))}'"
    ):
        load_trained(str(path))
    assert load_trained(f"tinyvit-5m?size=224&weights={path}").card.weights.startswith("sha256:")
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        load_trained(f"none{end}")


def test_a_network_file_without_its_scheme_is_told_the_scheme(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(CheckpointError, match=rf"Write onnx:{re.escape(str(tmp_path / 'a.onnx'))}"):
        load_trained(str(tmp_path / "a.onnx"))


def timm_file(folder: Path, classes: int, model: str = "test_resnet") -> tuple[nn.Module, Path]:
    torch.manual_seed(1)
    net: nn.Module = timm.create_model(model, num_classes=classes).eval()
    torch.save(net.state_dict(), folder / f"{classes}.pth")
    return net, folder / f"{classes}.pth"


def outputs_of(net: nn.Module, detector: Detector, images: Tensor) -> Tensor:
    from robustbench_aigi.detectors._support.resizing import resize

    inputs = resize(images, detector.size, detector.kernel)  # type: ignore[arg-type]
    outputs: Tensor = net(detector.get_submodule("normalise")(inputs))
    return outputs


def test_a_plain_file_of_timm_loads(images: Tensor, tmp_path: Path) -> None:
    """B16: "Missing key net.conv_stem.weight"."""
    net, path = timm_file(tmp_path, 1)
    with pytest.raises(
        CheckpointError, match=r"fake_index=1 .*fake_index=0"
    ):  # which way its output points is not said
        load_trained(f"timm:test_resnet?weights={path}")
    detector = load_trained(f"timm:test_resnet?weights={path}&fake_index=1")
    with torch.no_grad():
        torch.testing.assert_close(
            detector.logits(images), outputs_of(net, detector, images)[:, 0], atol=1e-5, rtol=0
        )


def test_two_classes_of_timm_are_never_guessed(images: Tensor, tmp_path: Path) -> None:
    net, path = timm_file(tmp_path, 2)
    with pytest.raises(CheckpointError, match=r"fake_index=1 .*fake_index=0"):
        load_trained(f"timm:test_resnet?weights={path}")
    detector = load_trained(f"timm:test_resnet?weights={path}&fake_index=0")
    with torch.no_grad():
        outputs = outputs_of(net, detector, images)
        torch.testing.assert_close(
            detector.logits(images), outputs[:, 0] - outputs[:, 1], atol=1e-5, rtol=0
        )
    save_detector(detector, tmp_path / "own.safetensors")
    assert torch.equal(
        load_trained(str(tmp_path / "own.safetensors")).logits(images), detector.logits(images)
    )


@pytest.mark.parametrize(
    "name", ["timm:test_resnet", "timm:deit_tiny_distilled_patch16_224", "resnet50"]
)
def test_a_file_without_a_last_layer_for_two_classes_is_for_training_alone(
    name: str, tmp_path: Path
) -> None:
    _, path = timm_file(tmp_path, 1000, name.removeprefix("timm:"))
    with pytest.raises(
        CheckpointError,
        match=rf"not trained: .*no last layer .*train {name} --start {re.escape(str(path))}",
    ):
        load_trained(f"{name}?weights={path}")
    place, start, config = begun_from(name, str(path), {})
    assert load_detector(place, start, **config).card.weights == "fresh"


def test_a_training_begins_from_such_a_file_and_says_so(tiny_recipe: str, tmp_path: Path) -> None:
    _, path = timm_file(tmp_path, 1000)
    said: list[str] = []
    place = tmp_path / "out.safetensors"
    train(f"timm:test_resnet?weights={path}", tiny_recipe, place, epochs=8, say=said.append)
    assert any("brings no last layer" in line for line in said)
    assert load_trained(str(place)).card.weights.startswith("sha256:")


def test_a_checkpoint_of_another_network_of_timm_is_refused(tmp_path: Path) -> None:
    save_detector(load_detector("timm:test_resnet"), tmp_path / "a.safetensors")
    with pytest.raises(
        CheckpointError, match="holds weights of timm:test_resnet, but timm:test_vit was asked for"
    ):
        load_detector("timm:test_vit", tmp_path / "a.safetensors")


@pytest.mark.parametrize("start", ["tinyvit-5m", "robust-tinyvit-5m", "cifake"])
def test_a_training_starts_from_a_name_that_ships(start: str) -> None:
    place, weights, config = begun_from("tinyvit-5m", start, {})
    shipped = "tinyvit-5m" if start == "cifake" else start
    found = load_detector(place, weights, **config)
    assert weights_digest(found.state_dict()) == weights_digest(load_trained(shipped).state_dict())


def test_a_training_does_not_start_from_a_name_without_weights() -> None:
    with pytest.raises(CheckpointError, match="resnet50 is not trained"):
        begun_from("resnet50", "resnet50", {})
    with pytest.raises(UnknownNameError, match="Did you mean resnet50"):
        begun_from("resnet50", "resnet5", {})
    with pytest.raises(UserError, match="threshold goes with loading a detector"):
        begun_from("cifake-cnn?threshold=1", None, {})
    assert begun_from("cifake-cnn", "fresh", {}) == ("cifake-cnn", None, {})


def test_weights_of_any_dataset_ship(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = load_detector("cifake-cnn", "cifake")
    save_detector(made, tmp_path / "cifake-cnn-mini.safetensors")
    save_file({"a": torch.ones(1)}, tmp_path / "tiny-clip.safetensors")  # no detector
    monkeypatch.setattr(shipping, "WEIGHTS_FOLDER", tmp_path)
    assert shipped_names("mini") == ["cifake-cnn"]
    assert shipped_names("clip") == []
    for found in (
        load_detector("cifake-cnn", "mini"),
        load_detector("cifake-cnn?weights=mini"),
    ):
        assert weights_digest(found.state_dict()) == weights_digest(made.state_dict())
    assert begun_from("cifake-cnn", "mini", {}) == ("cifake-cnn", "mini", {})
    with pytest.raises(
        CheckpointError, match=r"no weights of resnet50 for mini are shipped\. Shipped: cifake-cnn"
    ):
        load_detector("resnet50", "mini")
    with pytest.raises(CheckpointError, match="no checkpoint at clip"):
        load_detector("cifake-cnn", "clip")
