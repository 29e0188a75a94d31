"""Commands as users type them: each does its own part, and says what is wrong with a request."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.test_cli import command, command_here
from tests.test_data import folder


def test_train_build_and_evaluate_work_alone(
    tiny_recipe: str, tiny_suite: str, tmp_path: Path
) -> None:
    weights = str(tmp_path / "cnn.safetensors")
    done = command("train", "cifake-cnn", "--data", tiny_recipe, "--epochs", "12", "--out", weights)
    assert done.returncode == 0, done.stderr
    done = command(
        "build",
        tiny_recipe,
        "--attacks",
        tiny_suite,
        "--surrogate",
        weights,
        "--samples",
        "2",
        "--out",
        str(tmp_path / "set"),
    )
    assert done.returncode == 0, done.stderr
    assert "diffusion" in done.stdout
    done = command(
        "train",
        "cifake-cnn",
        "--data",
        str(tmp_path / "set"),
        "--method",
        "static",
        "--epochs",
        "12",
        "--start",
        weights,
        "--out",
        str(tmp_path / "static.safetensors"),
    )
    assert done.returncode == 0, done.stderr
    done = command(
        "evaluate",
        weights,
        f"again={weights}",
        str(tmp_path / "static.safetensors"),
        "--data",
        tiny_recipe,
        "--attacks",
        tiny_suite,
        "--workers",
        "2",
        "--out",
        str(tmp_path / "run"),
    )
    assert done.returncode == 0, done.stderr
    assert "static-cifake-cnn" in done.stdout
    matrix = pd.read_csv(tmp_path / "run" / "matrix.csv")
    rows = {
        name: part.drop(columns="detector").reset_index(drop=True)
        for name, part in matrix.groupby("detector")
    }
    pd.testing.assert_frame_equal(rows["again"], rows["cifake-cnn"])
    done = command(
        "evaluate",
        f"alone={weights}",
        "--surrogate",
        weights,
        "--data",
        tiny_recipe,
        "--attacks",
        tiny_suite,
        "--out",
        str(tmp_path / "alone"),
    )
    assert done.returncode == 0, done.stderr
    alone = pd.read_csv(tmp_path / "alone" / "matrix.csv").drop(columns="detector")
    pd.testing.assert_frame_equal(alone, rows["again"])


def test_detect_says_verdict_confidence_and_what_was_loaded(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(
        image
    )
    done = command("detect", str(image))
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^\S+a\.png: unsure \(outside what it learnt.*leaning to (real|AI-generated) with"
        r" \d+\.\d%",
        done.stdout,
    )
    assert "loaded: " in done.stdout
    assert "sha256:" in done.stdout
    answer = json.loads(command("detect", str(image), "--json").stdout)
    assert (
        answer["verdict"] == "unsure"
    )  # of 50 x 40 pixels, where the detector learnt from 32 x 32
    assert answer["leaning"] in ("real", "AI-generated")
    assert 0.5 <= answer["confidence"] <= 1


BAD_CALLS = {
    "missing source": (["run", "cifake", "--source", "nowhere/at/all"], "no file or folder"),
    "no source": (["run", "cifake"], "--source"),
    "unknown recipe": (["run", "cifak"], "Did you mean cifake"),
    "unknown suite": (["run", "mini", "--attacks", "quik"], "Did you mean quick"),
    "unknown detector": (["evaluate", "tinyvit5m", "--out", "x"], "Did you mean tinyvit-5m"),
    "unknown kind": (["list", "models"], "Write one of detectors"),
    "missing checkpoint": (["evaluate", "no.safetensors", "--out", "x"], "no checkpoint at"),
    "missing image": (["detect", "no.png"], "no file at"),
    "missing run": (["report", "nowhere"], "holds no matrix.csv"),
    "odd checkpoint name": (["train", "cifake-cnn", "--out", "x.pt"], ".safetensors"),
    "no such argument": (
        ["train", "cifake-cnn?size=2", "--out", "x.safetensors"],
        "It takes filters, dense",
    ),
    "no setting": (
        ["train", "cifake-cnn", "--config", '{"eps": 3}', "--out", "x.safetensors"],
        "--config must be KEY=VALUE",
    ),
    "no such number": (
        ["train", "cifake-cnn", "--config", "epsilon=3", "--out", "x.safetensors"],
        "Fields: epochs, batch",
    ),
    "adapt without the old": (
        ["train", "cifake-cnn", "--method", "adapt", "--out", "x.safetensors"],
        "--start CHECKPOINT --data NEW --rehearse OLD",
    ),
    "unknown method": (
        ["train", "cifake-cnn", "--method", "magic", "--out", "x.safetensors"],
        "no training method called",
    ),
}


@pytest.mark.parametrize("case", BAD_CALLS)
def test_bad_calls_end_with_one_message_and_no_traceback(case: str, tmp_path: Path) -> None:
    words, expected = BAD_CALLS[case]
    done = command_here(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")


def test_a_bad_call_is_no_traceback_in_a_shell(tmp_path: Path) -> None:
    done = command("run", "cifak", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_unwritable_output_and_bad_image(tmp_path: Path, tiny_suite: str) -> None:
    (tmp_path / "file").write_text("in the way")
    root = folder(tmp_path / "data")
    done = command_here(
        "run",
        "cifake",
        "--source",
        str(root),
        "--attacks",
        tiny_suite,
        "--out",
        str(tmp_path / "file"),
    )
    assert done.returncode == 2
    assert "cannot write to" in done.stderr
    (tmp_path / "bad.png").write_bytes(b"")
    done = command_here("detect", str(tmp_path / "bad.png"))
    assert done.returncode == 2
    assert "the file is empty" in done.stderr
    assert (tmp_path / "file").stat().st_size == len("in the way")
