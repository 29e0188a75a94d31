"""Files that are no weights, or hold code, or do not name their detector (case B6)."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from robustbench_aigi.cli import main as cli
from robustbench_aigi.detectors import detectors, load_detector, wrap
from robustbench_aigi.detectors._support.addresses.address import is_weights_path
from robustbench_aigi.detectors._support.checkpoints.tensors import read_tensors
from robustbench_aigi.errors import CheckpointError, UserError
from robustbench_aigi.judging import judge, read_image
from robustbench_aigi.pipeline.train import train
from tests.checkpoints import SMALL_VIT, timm_state


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
            r"pickled by its class \(tests\.test_checkpoint_files\.Net.*model\.state_dict\(\)",
        ),
        ({"model": Net()}, r"tests\.test_checkpoint_files\.Net"),
        (
            nn.Linear(2, 2),
            r"a whole network pickled by its class \(torch\.nn\.modules\.linear\.Linear",
        ),
        (
            {"model": {"a": torch.ones(1)}, "log": Own()},
            r"objects pickled by its class \(tests\.test_checkpoint_files\.Own\)",
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


OTHER_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
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
@pytest.mark.parametrize("kind", OTHER_FILES)
def test_a_file_is_named_for_what_it_is(kind: str, ending: str, tmp_path: Path) -> None:
    write, message = OTHER_FILES[kind]
    path = tmp_path / f"weights.{ending}"
    write(path)
    named = f"{path} is no checkpoint: it is .*{message}"
    with pytest.raises(CheckpointError, match=named):
        load_detector("vit-b16", weights=path, **SMALL_VIT)
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
        load_detector("vit-b16", weights=path, **SMALL_VIT)
    wrapped = wrap(torch.jit.load(str(path)), input_size=4)
    assert wrapped.logits(torch.rand(2, 3, 4, 4)).shape == (2,)
    torch.export.save(
        torch.export.export(net, (torch.ones(1, 3, 4, 4),)), tmp_path / "exported.pt2"
    )
    with pytest.raises(CheckpointError, match=r"torch\.export\.load\('.*'\)\.state_dict"):
        load_detector("vit-b16", weights=tmp_path / "exported.pt2", **SMALL_VIT)
    np.savez(tmp_path / "arrays.npz", a=np.ones(2))
    with pytest.raises(CheckpointError, match="NumPy arrays"):
        load_detector("vit-b16", weights=tmp_path / "arrays.npz", **SMALL_VIT)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_is_cut_short_is_damaged(share: float, zipped: bool, tmp_path: Path) -> None:
    torch.save({"model": timm_state()}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    whole = (tmp_path / "a.pth").read_bytes()
    (tmp_path / "a.pth").write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match="damaged"):
        load_detector("vit-b16", weights=tmp_path / "a.pth", **SMALL_VIT)


def test_paths_of_checkpoints_are_known_by_their_endings() -> None:
    for name in (
        "a.pth",
        "runs/a.pt",
        "a.bin",
        "a.ckpt",
        "A.PTH",
        "model.pth.tar",
        "a.safetensors",
        "net.onnx",
    ):
        assert is_weights_path(name)
    for name in (
        "tinyvit-5m",
        "hf:me/a.bin",
        "onnx:a.pt",
        "https://host/a.pth",
        "timm:x.pth",
        "mine:Class",
    ):
        assert not is_weights_path(name)


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
