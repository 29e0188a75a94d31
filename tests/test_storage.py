"""Runs at a URL: a mirror here, the files there, one writer at a time; against a server that speaks S3."""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustbench_aigi import storage, storage_lock
from robustbench_aigi.cli import main
from robustbench_aigi.errors import BadData, CannotWrite, Unavailable, UserError
from robustbench_aigi.files import cache_folder
from robustbench_aigi.storage import Mirror, mirrored

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROBUSTBENCH_AIGI_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def url(here: Path) -> Iterator[str]:
    """A folder in a store of objects, in memory."""
    yield f"memory://bucket/{here.name}"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    pytest.importorskip("s3fs")
    moto = pytest.importorskip("moto.server")
    served = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    served.start()
    host, port = served.get_host_and_port()
    names = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s"}
    names |= {"AWS_DEFAULT_REGION": "us-east-1", "FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}"}
    before = dict(os.environ)
    os.environ.update(names)
    fsspec.config.set_conf_env(fsspec.config.conf)
    yield "s3://bucket"
    os.environ.clear()
    os.environ.update(before)
    fsspec.config.conf.clear()
    served.stop()


def there(url: str) -> dict[str, bytes]:
    fs, root = fsspec.url_to_fs(url)
    fs.invalidate_cache()
    return {name[len(root) + 1 :]: fs.cat_file(name) for name in fs.find(root)}


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["robustbench-aigi", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


def elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch, name: str = "other") -> None:
    """From now on this is another machine: it has a mirror of its own."""
    monkeypatch.setenv("ROBUSTBENCH_AIGI_CACHE", str(here / name))


def test_what_is_written_goes_there_and_comes_back(url: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirrored(url) as folder:
        (folder / "cells").mkdir()
        (folder / "cells" / "one").write_text("1")
        (folder / "two").write_text("2")
        (folder / "half.7.tmp").write_text("half")
    assert there(url) == {"cells/one": b"1", "two": b"2"}
    elsewhere(here, monkeypatch)
    with mirrored(url) as folder:
        assert (folder / "cells" / "one").read_text() == "1"
        (folder / "two").write_text("22")
        (folder / "cells" / "one").unlink()
    assert there(url) == {"two": b"22"}
    monkeypatch.setenv("ROBUSTBENCH_AIGI_CACHE", str(here / "cache"))
    with mirrored(url, write=False) as folder:
        assert {path.name for path in folder.rglob("*") if path.is_file()} - {*storage.OWN} == {"two", "half.7.tmp"}
        assert (folder / "two").read_text() == "22"


def test_only_what_changed_is_sent(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirrored(url) as folder:
        for name in ("one", "two"):
            (folder / name).write_text(name)
    sent: list[str] = []
    kind = type(fsspec.filesystem("memory"))
    put = kind.put_file

    def noted(self: Any, here: str, there: str) -> None:
        sent.append(there)
        put(self, here, there)

    monkeypatch.setattr(kind, "put_file", noted)
    with mirrored(url) as folder:
        (folder / "two").write_text("changed")
    assert [name.rpartition("/")[2] for name in sent] == ["two"]


def test_one_writer_at_a_time(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with mirrored(url):
        with pytest.raises(UserError, match=r"another process works on .* process \d+"), mirrored(url):
            pytest.fail("the lock was given twice")
        with mirrored(url, write=False) as folder:
            assert folder.is_dir()
    with mirrored(url):
        mirror = Mirror(url)
        holder = json.loads(mirror.fs.cat_file(mirror.lock.place)) | {"time": 0, "process": -1}
        mirror.fs.pipe_file(mirror.lock.place, json.dumps(holder).encode())  # it has said nothing for long
        with mirrored(url) as folder:
            (folder / "mine").write_text("mine")
        mirror.fs.pipe_file(mirror.lock.place, json.dumps(mirror.lock.holder() | storage_lock.me()).encode())
    assert there(url) == {"mine": b"mine"}


def test_a_writer_that_was_given_up_sends_nothing_more(url: str) -> None:
    mirror = Mirror(url)
    (mirror.folder / "one").write_text("late")
    with pytest.raises(CannotWrite, match=r"took .* over.*is in .* alone"), mirrored(url):
        mirror.fs.pipe_file(mirror.lock.place, b'{"host": "another", "process": 1, "time": 9e9}')
    assert (mirror.folder / "one").read_text() == "late"
    assert list(there(url)) == [storage_lock.LOCK]  # of the other, who is still at work


def test_a_sending_that_fails_meanwhile_is_told_once_and_tried_again(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    tries = threading.Semaphore(0)
    kind = type(fsspec.filesystem("memory"))
    put = kind.put_file

    def down(self: Any, here: str, there: str) -> None:
        tries.release()
        raise OSError("the network is down")

    monkeypatch.setattr(storage, "EVERY", 0.01)
    with mirrored(url, say=told.append) as folder:
        monkeypatch.setattr(kind, "put_file", down)
        (folder / "one").write_text("1")
        assert tries.acquire(timeout=30)
        assert tries.acquire(timeout=30)
        monkeypatch.setattr(kind, "put_file", put)
    assert there(url) == {"one": b"1"}
    assert len(told) == 1
    assert "for now: OSError: the network is down" in told[0]
    assert str(folder) in told[0]


def test_a_kill_before_sending_loses_nothing(url: str) -> None:
    with mirrored(url) as folder:
        (folder / "one").write_text("1")
    (folder / "two").write_text("made, not sent")
    (folder / "one").write_text("changed, not sent")
    with mirrored(url) as folder:
        assert (folder / "one").read_text() == "changed, not sent"
    assert there(url) == {"one": b"changed, not sent", "two": b"made, not sent"}


def test_a_file_changed_at_both_ends_is_told(url: str) -> None:
    with mirrored(url) as folder:
        (folder / "one").write_text("1")
    (folder / "one").write_text("here")
    fs, root = fsspec.url_to_fs(url)
    fs.pipe_file(f"{root}/one", b"there")
    with pytest.raises(BadData, match="one was changed both at"), mirrored(url):
        pytest.fail("one of two was chosen")


def test_what_cannot_be_reached_is_told(here: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="no client for nosuch://x"), mirrored("nosuch://x"):
        pytest.fail("no such client")
    with pytest.raises(Unavailable, match="cannot reach file:///proc/none"), mirrored("file:///proc/none"):
        pytest.fail("nobody can write there")

    def refuse(self: Mirror) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Mirror, "send", refuse)
    with pytest.raises(CannotWrite, match=r"no room. All is in"), mirrored(url) as folder:
        (folder / "one").write_text("1")
    assert (folder / "one").read_text() == "1"


def test_names_that_lead_out_of_the_mirror_are_refused(url: str) -> None:
    mirror = Mirror(url)
    with pytest.raises(BadData, match="leads out of the folder"):
        mirror._place("../evil")


def test_commands_work_on_a_server_that_speaks_s3(
    server: str, here: Path, tiny_recipe: str, tiny_suite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = fsspec.filesystem("s3")
    made.mkdir("bucket")
    weights = Path("robustbench_aigi/weights/cifake-cnn-cifake.safetensors").resolve()
    local = here / "local"
    arguments = ["evaluate", str(weights), "--data", tiny_recipe, "--attacks", tiny_suite, "--workers", "1", "--out"]
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
        typed(monkeypatch, "train", "cifake-cnn", "--data", tiny_recipe, "--epochs", "1", "--out", out)
    assert there(f"{bucket}/weights")["mine.safetensors"] == local.read_bytes()
    assert there(f"{bucket}/weights")["others.bin"]
    assert not list(cache_folder().rglob("others.bin"))
    assert f"checkpoint: {bucket}/weights/mine.safetensors" in capsys.readouterr().out
    elsewhere(here, monkeypatch)
    asked = ["--attacks", tiny_suite, "--surrogate", f"{bucket}/weights/mine.safetensors", "--workers", "1"]
    asked += ["--samples", "0"]
    typed(monkeypatch, "build", tiny_recipe, *asked, "--out", f"{bucket}/set")
    assert "manifest.parquet" in there(f"{bucket}/set")
    assert not list((here / "other").rglob("others.bin"))
    assert f"manifest: {bucket}/set/manifest.parquet" in capsys.readouterr().out
    for command, wrong, why in (("plan", "weights/none.safetensors", "no file at"), ("status", "no", "nothing at")):
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
from robustbench_aigi import storage, storage_lock
storage.EVERY = 0.2
with storage.mirrored(sys.argv[1]) as folder:
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
    with subprocess.Popen([sys.executable, "-c", KILLED, url], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "sent\n"
        with pytest.raises(UserError, match="another process works on"), mirrored(url):
            pytest.fail("the lock was given twice")
        writer.kill()
    assert there(url)["shard"] == b"whole"
    elsewhere(here, monkeypatch)
    monkeypatch.setattr(storage_lock, "STALE", 0.0)
    with mirrored(url) as folder:
        assert (folder / "shard").read_text() == "whole"
    shutil.rmtree(folder)


def test_places_that_are_no_urls_stay_paths(here: Path) -> None:
    assert [storage.is_url(place) for place in ("runs/mine", "s3://bucket/run")] == [False, True]
