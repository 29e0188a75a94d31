"""Weights as people save them: containers, prefixes, and files that are something else (case
B6).
"""

import argparse
import json
import pathlib
import types
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from robustbench_aigi.cli import main as cli
from robustbench_aigi.detectors import Detector, detectors, load_detector, save_detector, wrap
from robustbench_aigi.detectors._support.checkpoints.tensors import is_checkpoint_path, read_tensors
from robustbench_aigi.errors import CheckpointError, UserError
from robustbench_aigi.judging import judge, read_image
from robustbench_aigi.pipeline.train import train
from tests.hugging_face import save_tiny_vit, tiny_vit

SMALL = {"size": 32, "patch": 8, "width": 24, "depth": 1, "heads": 3}


def other_weights(name: str = "vit-b16", **config: Any) -> Detector:
    """A small detector with weights of its own."""
    torch.manual_seed(7)
    return detectors.get(name)(**(config or SMALL)).eval()


@pytest.fixture(scope="module")
def theirs() -> dict[str, Tensor]:
    """A state dict as timm names it."""
    return {
        name.removeprefix("net."): value for name, value in other_weights().state_dict().items()
    }


@pytest.fixture(scope="module")
def expected() -> Tensor:
    return logits_of(other_weights())


def logits_of(detector: Detector) -> Tensor:
    with torch.no_grad():
        return detector.logits(torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)))


CONTAINERS: dict[str, Callable[[Any], Any]] = {
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
PREFIXES = [
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


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("container", CONTAINERS)
def test_usual_forms_are_looked_through(
    container: str, prefix: str, theirs: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    torch.save(
        CONTAINERS[container]({prefix + name: value for name, value in theirs.items()}),
        tmp_path / "a.pth",
    )
    detector = load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL)
    assert torch.equal(logits_of(detector), expected)
    assert bool(detector.notes) == (container != "bare" or prefix not in ("",))


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_prefixes_in_safetensors_too(
    prefix: str, ending: str, theirs: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    """The content tells what a file is, not its ending."""
    path = tmp_path / f"a.{ending}"
    save_file({prefix + name: value for name, value in theirs.items()}, path)
    assert torch.equal(logits_of(load_detector("vit-b16", weights=path, **SMALL)), expected)


def test_torch_file_under_the_other_ending(
    theirs: dict[str, Tensor], expected: Tensor, tmp_path: Path
) -> None:
    torch.save({"model": theirs}, tmp_path / "a.safetensors")
    assert torch.equal(
        logits_of(load_detector("vit-b16", weights=tmp_path / "a.safetensors", **SMALL)), expected
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
        logits_of(load_detector("vit-b16", weights=tmp_path / "old.pth", **SMALL)), expected
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
    detector = load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL)
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
    detector = load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL)
    assert torch.equal(logits_of(detector), expected)
    assert "model is taken; ema is in the file, too" in detector.notes[0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(
    dtype: torch.dtype, theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({name: value.to(dtype) for name, value in theirs.items()}, tmp_path / "a.pth")
    detector = load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL)
    assert {p.dtype for p in detector.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.int8, torch.complex64])
def test_weights_that_are_no_real_numbers_are_refused(
    dtype: torch.dtype, theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({name: value.to(dtype) for name, value in theirs.items()}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=f"is of {dtype}, not of floating-point"):
        load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL)


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
        load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


class Own:
    pass


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("held", "message"),
    [
        (
            Net(),
            r"holds .* pickled by its class \(tests\.test_checkpoints\.Net.*model\.state_dict\(\)",
        ),
        ({"model": Net()}, r"tests\.test_checkpoints\.Net"),
        (
            nn.Linear(2, 2),
            r"a whole network pickled by its class \(torch\.nn\.modules\.linear\.Linear",
        ),
        (
            {"model": {"a": torch.ones(1)}, "log": Own()},
            r"objects pickled by its class \(tests\.test_checkpoints\.Own\)",
        ),
        (
            {"generator": {"a": torch.ones(1)}, "discriminator": {}},
            "it holds generator, discriminator. Save that part",
        ),
        ({}, "it holds nothing"),
        (torch.ones(2), "holds Tensor, not a state dict"),
    ],
)
def test_pickled_objects_are_named(
    held: object, message: str, zipped: bool, tmp_path: Path
) -> None:
    torch.save(held, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=message):
        read_tensors(tmp_path / "a.pth")


def zip_of(path: Path, **files: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pointer": (
        lambda path: path.write_text(
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"
        ),
        "Git LFS pointer.*git lfs pull",
    ),
    "page": (
        lambda path: path.write_text("\n <!DOCTYPE html>\n<html><body>Sign in</body></html>"),
        "a web page",
    ),
    "xml": (
        lambda path: path.write_text('<?xml version="1.0"?><Error>AccessDenied</Error>'),
        "a web page",
    ),
    "empty": (lambda path: path.write_bytes(b""), "an empty file"),
    "json": (
        lambda path: path.write_text(json.dumps({"architectures": ["ViT"]})),
        "JSON text, not weights",
    ),
    "index": (
        lambda path: path.write_text(json.dumps({"weight_map": {"a": "b"}})),
        "split over several files.*hf:",
    ),
    "text": (lambda path: path.write_text("Entry not found, sorry for that"), "text, not weights"),
    "zip": (lambda path: zip_of(path, inside="x"), "a zip archive that torch did not write"),
    "image": (lambda path: Image.new("RGB", (4, 4)).save(path, "PNG"), "an image"),
    "gzip": (lambda path: path.write_bytes(b"\x1f\x8b" + bytes(30)), "a packed archive"),
    "keras": (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(30)), "HDF5"),
}


@pytest.mark.parametrize("ending", ["pth", "safetensors", "bin", "ckpt"])
@pytest.mark.parametrize("kind", FILES)
def test_a_file_is_named_for_what_it_is(kind: str, ending: str, tmp_path: Path) -> None:
    write, message = FILES[kind]
    path = tmp_path / f"weights.{ending}"
    write(path)
    named = f"{path} is no checkpoint: it is .*{message}"
    with pytest.raises(CheckpointError, match=named):
        load_detector("vit-b16", weights=path, **SMALL)
    with pytest.raises(CheckpointError, match=named):
        load_detector(str(path))


@pytest.mark.filterwarnings("ignore")
def test_archives_of_networks_say_what_to_do(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 1)).eval()
    path = tmp_path / "scripted.pt"
    torch.jit.save(torch.jit.trace(net, torch.ones(1, 3, 4, 4)), path)
    with pytest.raises(
        CheckpointError,
        match=r"TorchScript.*rb\.wrap\(torch\.jit\.load\('.*scripted\.pt'\), input_size=",
    ):
        load_detector("vit-b16", weights=path, **SMALL)
    wrapped = wrap(torch.jit.load(str(path)), input_size=4)
    assert wrapped.logits(torch.rand(2, 3, 4, 4)).shape == (2,)
    torch.export.save(
        torch.export.export(net, (torch.ones(1, 3, 4, 4),)), tmp_path / "exported.pt2"
    )
    with pytest.raises(CheckpointError, match=r"torch\.export\.load\('.*'\)\.state_dict"):
        load_detector("vit-b16", weights=tmp_path / "exported.pt2", **SMALL)
    np.savez(tmp_path / "arrays.npz", a=np.ones(2))
    with pytest.raises(CheckpointError, match="NumPy arrays"):
        load_detector("vit-b16", weights=tmp_path / "arrays.npz", **SMALL)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_is_cut_short_is_damaged(
    share: float, zipped: bool, theirs: dict[str, Tensor], tmp_path: Path
) -> None:
    torch.save({"model": theirs}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="damaged"):
        load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL)


def test_paths_of_checkpoints_are_known_by_their_endings() -> None:
    for name in (
        "a.pth",
        "runs/a.pt",
        "a.bin",
        "a.ckpt",
        "A.PTH",
        "model.pth.tar",
        "a.safetensors",
    ):
        assert is_checkpoint_path(name)
    for name in (
        "tinyvit-5m",
        "hf:me/a.bin",
        "onnx:a.pt",
        "https://host/a.pth",
        "timm:x.pth",
        "mine:Class",
    ):
        assert not is_checkpoint_path(name)


def test_a_torch_file_alone_names_the_detectors_that_it_fits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A .pth on the command line was "no detector called"."""
    monkeypatch.setattr(
        detectors, "names", lambda: ["cifake-cnn", "fft-vae", "resnet18-c32", "dire"]
    )
    torch.save({"model": load_detector("cifake-cnn").state_dict()}, tmp_path / "cnn.pth")
    with pytest.raises(
        UserError,
        match=r"does not say which detector.* It fits cifake-cnn: write 'cifake-cnn\?weights=",
    ):
        load_detector(str(tmp_path / "cnn.pth"))
    torch.save({"a": torch.ones(1)}, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"It fits none .*load_detector\('NAME'"):
        load_detector(str(tmp_path / "other.pth"))


def test_notes_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"net": load_detector("cifake-cnn", "cifake").state_dict()}, tmp_path / "cnn.pth")
    note = f"{tmp_path / 'cnn.pth'}: read below net."
    ready = load_detector("cifake-cnn", weights=tmp_path / "cnn.pth")
    assert ready.notes == (note,)
    said: list[str] = []
    with pytest.raises(UserError):
        train(
            "cifake-cnn",
            "cifake",
            tmp_path / "new.safetensors",
            start=str(tmp_path / "cnn.pth"),
            say=said.append,
            source=str(tmp_path / "nowhere"),
        )
    assert said == [note]
    monkeypatch.setattr("robustbench_aigi.pipeline.detectors.load_trained", lambda *_: ready)
    Image.new("RGB", (32, 32)).save(tmp_path / "one.png")
    assert note in judge(read_image(tmp_path / "one.png"), ready).notes
    words = [
        "evaluate",
        "cifake-cnn",
        "--data",
        "cifake",
        "--source",
        str(tmp_path / "nowhere"),
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr("sys.argv", ["robustbench-aigi", *words])
    with pytest.raises(SystemExit):
        cli.main()
    assert note in capsys.readouterr().err
