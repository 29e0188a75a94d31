"""The command ``run``: a whole run, its report, and kills in the middle."""

import io
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from robustbench_aigi.cli import main as main_module
from robustbench_aigi.report import read_matrix, to_markdown


def command(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    call = [sys.executable, "-m", "robustbench_aigi", *words]
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=cwd)


def command_here(*words: str, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """A command in this process, which spares its seconds of imports."""
    out = io.StringIO()
    err = io.StringIO()
    with ExitStack() as stack:
        stack.enter_context(patch.object(sys, "argv", ["robustbench-aigi", *words]))
        stack.enter_context(patch.object(main_module, "tune_process"))  # it would last
        stack.enter_context(redirect_stdout(out))
        stack.enter_context(redirect_stderr(err))
        if cwd is not None:
            stack.enter_context(chdir(cwd))
        try:
            main_module.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


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
    if share > 0.15:  # the first kill is of a run that trains too
        for folder_name in ("detectors", "plusplus"):
            shutil.copytree(finished / folder_name, tmp_path / folder_name)
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
