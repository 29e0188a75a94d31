"""Runs at a URL: a mirror here, the files there, one writer at a time."""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robustbench_aigi.cli.main import main
from robustbench_aigi.errors import DataError, UnavailableError, UserError, WriteError
from robustbench_aigi.io import mirror, remote_lock
from robustbench_aigi.io.mirror import LOCAL_SUFFIXES, Mirror, is_url, mirrored
from tests.remote import elsewhere, there

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def url(here: Path) -> Iterator[str]:
    """A folder in a store of objects, in memory."""
    yield f"memory://bucket/{here.name}"
    fsspec.filesystem("memory").store.clear()


def test_what_is_written_goes_there_and_comes_back(
    url: str, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
        assert {path.name for path in folder.rglob("*") if path.is_file()} - {*LOCAL_SUFFIXES} == {
            "two",
            "half.7.tmp",
        }
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
        with (
            pytest.raises(UserError, match=r"in use by another process .* process \d+"),
            mirrored(url),
        ):
            pytest.fail("the lock was given twice")
        with mirrored(url, write=False) as folder:
            assert folder.is_dir()
    with mirrored(url):
        mirror = Mirror(url)
        holder = json.loads(mirror.fs.cat_file(mirror.lock.path)) | {"time": 0, "process": -1}
        mirror.fs.pipe_file(
            mirror.lock.path, json.dumps(holder).encode()
        )  # it has said nothing for long
        with mirrored(url) as folder:
            (folder / "mine").write_text("mine")
        mirror.fs.pipe_file(
            mirror.lock.path, json.dumps(mirror.lock.holder() | remote_lock.this_process()).encode()
        )
    assert there(url) == {"mine": b"mine"}


def test_a_writer_that_was_given_up_sends_nothing_more(url: str) -> None:
    mirror = Mirror(url)
    (mirror.folder / "one").write_text("late")
    with pytest.raises(WriteError, match=r"took over .*is only in "), mirrored(url):
        mirror.fs.pipe_file(mirror.lock.path, b'{"host": "another", "process": 1, "time": 9e9}')
    assert (mirror.folder / "one").read_text() == "late"
    assert list(there(url)) == [remote_lock.LOCK_NAME]  # of the other, who is still at work


def test_a_sending_that_fails_meanwhile_is_reported_once_and_tried_again(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    tries = threading.Semaphore(0)
    kind = type(fsspec.filesystem("memory"))
    put = kind.put_file

    def down(self: Any, here: str, there: str) -> None:
        tries.release()
        raise OSError("the network is down")

    monkeypatch.setattr(mirror, "SEND_SECONDS", 0.01)
    with mirrored(url, say=said.append) as folder:
        monkeypatch.setattr(kind, "put_file", down)
        (folder / "one").write_text("1")
        assert tries.acquire(timeout=30)
        assert tries.acquire(timeout=30)
        monkeypatch.setattr(kind, "put_file", put)
    assert there(url) == {"one": b"1"}
    assert len(said) == 1
    assert "for now: OSError: the network is down" in said[0]
    assert str(folder) in said[0]


def test_a_kill_before_sending_loses_nothing(url: str) -> None:
    with mirrored(url) as folder:
        (folder / "one").write_text("1")
    (folder / "two").write_text("made, not sent")
    (folder / "one").write_text("changed, not sent")
    with mirrored(url) as folder:
        assert (folder / "one").read_text() == "changed, not sent"
    assert there(url) == {"one": b"changed, not sent", "two": b"made, not sent"}


def test_a_file_changed_at_both_ends_is_reported(url: str) -> None:
    with mirrored(url) as folder:
        (folder / "one").write_text("1")
    (folder / "one").write_text("here")
    fs, root = fsspec.url_to_fs(url)
    fs.pipe_file(f"{root}/one", b"there")
    with pytest.raises(DataError, match="one was changed both at"), mirrored(url):
        pytest.fail("one of two was chosen")


def test_what_cannot_be_reached_is_reported(
    here: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnavailableError, match="no client for nosuch://x"), mirrored("nosuch://x"):
        pytest.fail("no such client")
    with (
        pytest.raises(UnavailableError, match="cannot reach file:///proc/none"),
        mirrored("file:///proc/none"),
    ):
        pytest.fail("nobody can write there")

    def fail(self: Mirror) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Mirror, "send", fail)
    with pytest.raises(WriteError, match=r"no room. Everything is in"), mirrored(url) as folder:
        (folder / "one").write_text("1")
    assert (folder / "one").read_text() == "1"


def test_names_that_lead_out_of_the_mirror_are_rejected(url: str) -> None:
    mirror = Mirror(url)
    with pytest.raises(DataError, match="leads out of the folder"):
        mirror._local_path("../evil")


def test_places_that_are_no_urls_stay_paths(here: Path) -> None:
    assert [is_url(place) for place in ("runs/mine", "s3://bucket/run")] == [False, True]


@pytest.mark.parametrize("command", [("status",), ("report",), ("gate", "quick")])
def test_errors_name_the_url_and_not_its_mirror(
    command: tuple[str, ...],
    url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with mirrored(url) as folder:
        (folder / "notes.txt").write_text("no run")
    monkeypatch.setattr(sys, "argv", ["robustbench-aigi", *command, url])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"error: {url} holds no " in capsys.readouterr().err
