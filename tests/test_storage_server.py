"""Commands on places at URLs, against a server that speaks S3."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from robustbench_aigi.cli.main import main
from robustbench_aigi.errors import UserError
from robustbench_aigi.io import remote_lock
from robustbench_aigi.io.files import cache_folder
from robustbench_aigi.io.mirror import mirrored
from tests.remote import elsewhere, there, typed

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    served = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    names = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
    }
    names |= {"AWS_DEFAULT_REGION": "us-east-1", "FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}"}
    before = dict(os.environ)
    os.environ.update(names)
    fsspec.config.set_conf_env(fsspec.config.conf)
    yield "s3://bucket"
    os.environ.clear()
    os.environ.update(before)
    fsspec.config.conf.clear()
    served.stop()


def test_commands_work_on_a_server_that_speaks_s3(
    server: str, here: Path, tiny_recipe: str, tiny_suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fsspec.filesystem("s3")
    made.mkdir("bucket")
    weights = Path("robustbench_aigi/weights/cifake-cnn-cifake.safetensors").resolve()
    local = here / "local"
    arguments = [
        "evaluate",
        str(weights),
        "--data",
        tiny_recipe,
        "--attacks",
        tiny_suite,
        "--workers",
        "1",
        "--out",
    ]
    for out in (str(local), f"{server}/run"):
        typed(monkeypatch, *arguments, out)
    found = there(f"{server}/run")
    assert found["matrix.csv"] == (local / "matrix.csv").read_bytes()
    assert "report.html" in found
    elsewhere(here, monkeypatch)
    typed(monkeypatch, "status", f"{server}/run")
    assert there(f"{server}/run") == found
    typed(monkeypatch, "report", f"{server}/run", "--out", f"{server}/again")
    assert there(f"{server}/again")["matrix.csv"] == found["matrix.csv"]
    typed(monkeypatch, "leaderboard", f"{server}/run", "--out", f"{server}/page/all.html")
    assert b"cifake-cnn" in there(f"{server}/page")["all.html"]


def test_sets_and_checkpoints_go_to_such_a_server(
    server: str,
    here: Path,
    tiny_recipe: str,
    tiny_suite: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fsspec.filesystem("s3").mkdir("bucket-3")
    bucket, local = "s3://bucket-3", here / "local.safetensors"
    fsspec.filesystem("s3").pipe_file("bucket-3/weights/others.bin", b"large, and of no interest")
    for out in (str(local), f"{bucket}/weights/mine.safetensors"):
        typed(
            monkeypatch, "train", "cifake-cnn", "--data", tiny_recipe, "--epochs", "1", "--out", out
        )
    assert there(f"{bucket}/weights")["mine.safetensors"] == local.read_bytes()
    assert there(f"{bucket}/weights")["others.bin"]
    assert not list(cache_folder().rglob("others.bin"))
    assert f"checkpoint: {bucket}/weights/mine.safetensors" in capsys.readouterr().out
    elsewhere(here, monkeypatch)
    asked = [
        "--attacks",
        tiny_suite,
        "--surrogate",
        f"{bucket}/weights/mine.safetensors",
        "--workers",
        "1",
    ]
    asked += ["--samples", "0"]
    typed(monkeypatch, "build", tiny_recipe, *asked, "--out", f"{bucket}/set")
    assert "manifest.parquet" in there(f"{bucket}/set")
    assert not list((here / "other").rglob("others.bin"))
    assert f"manifest: {bucket}/set/manifest.parquet" in capsys.readouterr().out
    typed(
        monkeypatch,
        "plan",
        f"far={bucket}/weights/mine.safetensors",
        "--data",
        tiny_recipe,
        "--attacks",
        tiny_suite,
    )
    assert "far" in capsys.readouterr().out
    for command, wrong, why in (
        ("plan", "weights/none.safetensors", "no file at"),
        ("status", "no", "nothing at"),
    ):
        monkeypatch.setattr(sys, "argv", ["robustbench-aigi", command, f"{bucket}/{wrong}"])
        with pytest.raises(SystemExit, match="2"):
            main()
        assert f"{why} {bucket}/{wrong}" in capsys.readouterr().err
    elsewhere(here, monkeypatch, "third")
    typed(monkeypatch, "verify", f"{bucket}/set")
    typed(monkeypatch, "export", f"{bucket}/set", "parquet", "--out", f"{bucket}/flat")
    assert any(name.endswith(".parquet") for name in there(f"{bucket}/flat"))


KILLED = """
import sys, time
from robustbench_aigi.io import mirror
mirror.SEND_SECONDS = 0.2
with mirror.mirrored(sys.argv[1]) as folder:
    (folder / "shard").write_text("whole")
    time.sleep(2)
    print("sent", flush=True)
    time.sleep(600)
"""


def test_a_killed_writers_files_are_there_and_its_lock_ends(
    server: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.filesystem("s3").mkdir("bucket-2")
    url = "s3://bucket-2/run"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "sent\n"
        with pytest.raises(UserError, match="in use by another process"), mirrored(url):
            pytest.fail("the lock was given twice")
        writer.kill()
    assert there(url)["shard"] == b"whole"
    elsewhere(here, monkeypatch)
    monkeypatch.setattr(remote_lock, "STALE_SECONDS", 0.0)
    with mirrored(url) as folder:
        assert (folder / "shard").read_text() == "whole"
    shutil.rmtree(folder)
