import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from robustbench_aigi.report import read_matrix, to_markdown
from tests.test_data import folder


def command(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    call = [sys.executable, "-m", "robustbench_aigi", *words]
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def finished(tiny_recipe: str, tiny_suite: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of the main job on a tiny dataset."""
    out = tmp_path_factory.mktemp("run")
    done = command("run", tiny_recipe, "--attacks", tiny_suite, "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "| detector | clean |" in done.stdout
    return out


def test_run_fills_every_cell(finished: Path) -> None:
    matrix = read_matrix(finished)
    names = {"cifake-cnn", "resnet18-c32", "tinyvit-5m", "clip-mlp"}
    tuned = {"static-tinyvit-5m", "robust-tinyvit-5m", "robust-clip-mlp"}
    assert set(matrix["detector"]) == names | tuned
    ready = matrix[matrix["detector"].isin(names)]
    assert (ready["status"] == "ok").all()
    assert ready["accuracy"].notna().all()
    assert (matrix["status"].eq("ok") | matrix["status"].str.contains("collapsed")).all()
    assert (finished / "skipped.csv").read_text() == "id,reason\n"


def test_report_asks_no_other_address(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)
    assert page.count('<img src="data:image/png;base64,') >= 3
    assert re.findall(r"<script[^>]*>", page) == [
        '<script id="matrix" type="application/json">',
        "<script>",
    ]


def test_report_command_writes_the_same_again(finished: Path) -> None:
    names = ("matrix.csv", "matrix.md", "matrix.json", "report.html")
    before = {name: (finished / name).read_bytes() for name in names}
    done = command("report", str(finished))
    assert done.returncode == 0, done.stderr
    assert {name: (finished / name).read_bytes() for name in names} == before
    assert json.loads(before["matrix.json"])["rows"][0]["detector"] == "cifake-cnn"
    assert to_markdown(read_matrix(finished)) in before["matrix.md"].decode()


@pytest.mark.parametrize("share", [0.15, 0.5, 0.85])
def test_a_killed_run_goes_on_to_the_same_matrix(
    finished: Path, tiny_recipe: str, tiny_suite: str, tmp_path: Path, share: float
) -> None:
    call = [sys.executable, "-m", "robustbench_aigi", "run", tiny_recipe, "--attacks", tiny_suite]
    steps = sorted(
        p.relative_to(finished) for p in finished.rglob("*.parquet") if "cells" in p.parts
    )
    wanted = steps[int(share * len(steps))]
    process = subprocess.Popen(
        [*call, "--out", str(tmp_path)], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    while not (tmp_path / wanted).exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (tmp_path / "matrix.csv").exists()
    done = command("run", tiny_recipe, "--attacks", tiny_suite, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "matrix.csv").read_bytes() == (finished / "matrix.csv").read_bytes()


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
    done = command(*words, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")


def test_unwritable_output_and_bad_image(tmp_path: Path, tiny_suite: str) -> None:
    (tmp_path / "file").write_text("in the way")
    root = folder(tmp_path / "data")
    done = command(
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
    done = command("detect", str(tmp_path / "bad.png"))
    assert done.returncode == 2
    assert "the file is empty" in done.stderr
    assert (tmp_path / "file").stat().st_size == len("in the way")
