"""Weights as people save them: containers, prefixes, precisions (case B6)."""

import argparse
import pathlib
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from robustbench_aigi.detectors import load_detector, save_detector
from robustbench_aigi.errors import CheckpointError
from tests.checkpoints import SMALL_VIT, logits_of, other_weights, timm_state
from tests.hugging_face import save_tiny_vit, tiny_vit


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    return timm_state()


@pytest.fixture(scope="module")
def expected() -> Tensor:
    return logits_of(other_weights())


FILE_CONTAINERS: dict[str, Callable[[Any], Any]] = {
    "bare": lambda state: state,
    "model": lambda state: {"model": state, "epoch": 3},
    "state_dict": lambda state: {
        "state_dict": state,
        "optimizer": {"state": {0: {"m": torch.ones(2)}}},
    },
    "model_state_dict": lambda state: {"model_state_dict": state, "loss": 0.1},
    "net": lambda state: {"net": state, "acc": 91.5},
    "network": lambda state: {"network": state},
    "weights": lambda state: {"weights": state, "classes": ["real", "fake"]},
    "params": lambda state: {"params": state},
    "module": lambda state: {"module": state},
    "ema": lambda state: {"ema": state},
    "nested": lambda state: {"state_dict": {"model": state}},
    "deeper": lambda state: {"weights": {"state_dict": {"net": state}}, "arch": "vit"},
    "namespace": lambda state: {
        "model": state,
        "args": argparse.Namespace(lr=0.1, out=pathlib.PurePath("runs").name),
    },
    "numpy": lambda state: {
        "model": state,
        "best": np.float64(0.9),
        "step": np.int64(4),
        "rates": np.zeros(3),
    },
    "settings": lambda state: {"model": state, "cfg": types.SimpleNamespace(depth=1)},
    "flat": lambda state: state | {"epoch": 3},
}


TENSOR_PREFIXES = [
    "",
    "_orig_mod.",
    "model.",
    "net.",
    "backbone.",
    "module.",
    "module._orig_mod.model.",
    "model.net.",
    "network.",
]


@pytest.mark.parametrize("prefix", TENSOR_PREFIXES)
@pytest.mark.parametrize("container", FILE_CONTAINERS)
def test_usual_forms_are_looked_through(
    container: str, prefix: str, theirs: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    torch.save(
        FILE_CONTAINERS[container]({prefix + name: value for name, value in theirs.items()}),
        tmp_path / "a.pth",
    )
    detector = load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL_VIT)
    assert torch.equal(logits_of(detector), expected)
    assert bool(detector.notes) == (container != "bare" or prefix not in ("",))


@pytest.mark.parametrize("prefix", TENSOR_PREFIXES)
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_prefixes_in_safetensors_too(
    prefix: str, ending: str, theirs: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    """The content tells what a file is, not its ending."""
    path = tmp_path / f"a.{ending}"
    save_file({prefix + name: value for name, value in theirs.items()}, path)
    assert torch.equal(logits_of(load_detector("vit-b16", weights=path, **SMALL_VIT)), expected)


def test_torch_file_under_the_other_ending(
    theirs: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    torch.save({"model": theirs}, tmp_path / "a.safetensors")
    assert torch.equal(
        logits_of(load_detector("vit-b16", weights=tmp_path / "a.safetensors", **SMALL_VIT)),
        expected,
    )
    own = tmp_path / "own.pth"
    save_detector(other_weights(), tmp_path / "own.safetensors")
    (tmp_path / "own.safetensors").rename(own)
    assert torch.equal(logits_of(load_detector(str(own))), expected)


def test_files_of_old_torch_are_read(
    theirs: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    torch.save({"net": theirs}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(
        logits_of(load_detector("vit-b16", weights=tmp_path / "old.pth", **SMALL_VIT)), expected
    )


def test_a_detector_that_keeps_its_network_below_net(tmp_path: Path) -> None:
    """A bare state dict of timm for a detector of timm; a thousand classes give way, and that is
    noted (case B16).
    """
    torch.manual_seed(1)
    net = timm.create_model("test_resnet", num_classes=1).eval()
    torch.save(net.state_dict(), tmp_path / "one.pth")
    with pytest.raises(CheckpointError, match="fake_index=1"):
        load_detector("timm:test_resnet", weights=tmp_path / "one.pth")
    up, down = (
        load_detector("timm:test_resnet", tmp_path / "one.pth", fake_index=index)
        for index in (1, 0)
    )
    torch.testing.assert_close(logits_of(up), -logits_of(down))
    assert all(
        torch.equal(up.state_dict()[f"net.{name}"], value)
        for name, value in net.state_dict().items()
    )
    many = timm.create_model("test_resnet", num_classes=1000)
    torch.save(many.state_dict(), tmp_path / "many.pth")
    fresh = load_detector("timm:test_resnet", weights=tmp_path / "many.pth")
    assert (
        "not in the file, and as the detector was built: net.fc.weight, net.fc.bias"
        in fresh.notes[0]
    )


def test_a_state_dict_of_transformers_for_a_folder(tmp_path: Path) -> None:
    """``net.`` is put before the names, where the detector keeps its network there."""
    folder = save_tiny_vit(tmp_path / "vit", ["real", "ai"])
    torch.manual_seed(3)
    other = tiny_vit(["real", "ai"])
    torch.save(
        {"state_dict": {f"model.{name}": value for name, value in other.state_dict().items()}},
        tmp_path / "a.pth",
    )
    detector = load_detector(f"hf:{folder}", weights=tmp_path / "a.pth")
    assert torch.equal(
        detector.state_dict()["net.classifier.weight"], other.state_dict()["classifier.weight"]
    )
    assert (
        detector.notes[-1]
        == f"{tmp_path / 'a.pth'}: read below state_dict; took 'model.' off; put 'net.' before."
    )


def test_counters_of_thop_are_dropped_and_noted(
    theirs: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    counters = {
        f"blocks.0.{what}": torch.zeros(1, dtype=torch.float64)
        for what in ("total_ops", "total_params")
    }
    torch.save({"state_dict": theirs | counters}, tmp_path / "a.pth")
    detector = load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL_VIT)
    assert torch.equal(logits_of(detector), expected)
    assert detector.notes == (
        (
            f"{tmp_path / 'a.pth'}: read below state_dict; dropped 2 counters of thop (total_ops,"
            " total_params)."
        ),
    )


def test_an_average_is_taken_where_it_stands_alone(
    theirs: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    other = {name: value + 1 for name, value in theirs.items()}
    torch.save({"ema": other, "model": theirs}, tmp_path / "a.pth")
    detector = load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL_VIT)
    assert torch.equal(logits_of(detector), expected)
    assert "model is taken; ema is in the file, too" in detector.notes[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(
    dtype: torch.dtype, theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({name: value.to(dtype) for name, value in theirs.items()}, tmp_path / "a.pth")
    detector = load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL_VIT)
    assert {p.dtype for p in detector.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(
    dtype: torch.dtype, theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({name: value.to(dtype) for name, value in theirs.items()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=f"is of {dtype}, not of floating-point"):
        load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL_VIT)


def test_counts_of_batches_may_be_missing(tmp_path: Path) -> None:
    net = timm.create_model("test_resnet", num_classes=1)
    state = {
        name: value
        for name, value in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, tmp_path / "a.pth")
    assert load_detector("timm:test_resnet", weights=tmp_path / "a.pth", fake_index=1).notes == ()


def test_what_does_not_fit_is_named(theirs: dict[str, Tensor], tmp_path: Path) -> None:
    wrong = dict(theirs) | {"more": torch.ones(1), "norm.bias": torch.ones(5)}
    del wrong["cls_token"]
    torch.save(wrong, tmp_path / "a.pth")
    names = (
        r"missing: net\.cls_token; unexpected: net\.more; of another shape: net\.norm\.bias \(5,\)"
        r" for \(24,\)"
    )
    with pytest.raises(CheckpointError, match=names):
        load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL_VIT)


def test_arguments_that_replace_those_of_a_file_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    save_detector(load_detector("resnet50", size=64), path)
    same = load_detector(f"resnet50?size=64&weights={path}")
    assert same.card.input_size == 64
    assert not same.notes
    other = load_detector(f"resnet50?size=32&weights={path}")
    assert other.card.input_size == 32
    assert other.notes == (f"{path} was written with size=64, now size=32.",)


def test_a_checkpoint_of_another_input_size_says_so(tmp_path: Path) -> None:
    path = tmp_path / "larger.safetensors"
    larger = timm.create_model("vit_tiny_patch16_224", num_classes=2, img_size=384)
    save_file(dict(larger.state_dict()), path)
    with pytest.raises(CheckpointError, match=r"577, 192.*another input size.*size=224"):
        load_detector(f"timm:vit_tiny_patch16_224?weights={path}&fake_index=1")
    narrow = timm.create_model("vit_tiny_patch16_224", num_classes=2, embed_dim=96, num_heads=3)
    save_file(dict(narrow.state_dict()), path)
    with pytest.raises(CheckpointError, match=r"Give a file that `train` wrote"):
        load_detector(f"timm:vit_tiny_patch16_224?weights={path}&fake_index=1")
