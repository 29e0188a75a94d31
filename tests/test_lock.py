"""Two processes on one folder: the second gets an error, and a killed process holds no lock."""

import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from robustbench_aigi.errors import UserError, WriteError
from robustbench_aigi.io.files import write_text
from robustbench_aigi.io.locks import exclusive_lock, is_locked

HOLD = """
import sys, time
from pathlib import Path
from robustbench_aigi.io.locks import exclusive_lock

with exclusive_lock(Path(sys.argv[1])):
    print('held', flush=True)
    time.sleep(600)
"""


def test_the_second_process_gets_an_error_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    for place in (tmp_path / "run", tmp_path / "mine.safetensors"):
        command = [sys.executable, "-c", HOLD, str(place)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            assert first.stdout.readline() == "held\n"
            assert is_locked(place)
            with (
                pytest.raises(UserError, match="in use by another process"),
                exclusive_lock(place),
            ):
                pytest.fail("the lock was given twice")
            first.kill()
        assert not is_locked(place)
        with exclusive_lock(place), exclusive_lock(place):  # one process may ask again
            assert is_locked(place)
        assert not is_locked(place)


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match="cannot write to"), exclusive_lock(tmp_path / "file"):
        pytest.fail("a file was taken for a folder")


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    run, deep, mine = (
        tmp_path / "run",
        tmp_path / "run" / "cells" / "one",
        tmp_path / "mine.safetensors",
    )
    deep.mkdir(parents=True)
    for path in (deep / "shard-0000.12.tmp", run / "matrix.7.tmp", tmp_path / "mine.34.tmp"):
        path.write_text("half")
    kept = [deep / "shard-0000.parquet", run / "notes.tmp", tmp_path / "other.34.tmp"]
    for path in kept:
        path.write_text("whole")
    with exclusive_lock(run), exclusive_lock(mine):
        (run / "matrix.8.tmp").write_text("being written")
        with exclusive_lock(run):  # the same process, again
            assert (run / "matrix.8.tmp").is_file()
    assert sorted(
        p for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith(".lock")
    ) == sorted([*kept, run / "matrix.8.tmp"])


LOOK = (
    "import sys\nfrom pathlib import Path\nfrom robustbench_aigi.io.locks import is_locked\n"
    + "print('looks', flush=True)\nwhile True:\n    is_locked(Path(sys.argv[1]))\n"
)


def test_looking_never_stands_in_the_way_of_a_run_that_begins(tmp_path: Path) -> None:
    """C7: `status` tested a lock by taking it, so that a run that began at that moment
    failed.
    """
    with exclusive_lock(tmp_path):
        pass
    command = [sys.executable, "-c", LOOK, str(tmp_path)]
    with ExitStack() as stack:
        for _ in range(2):
            other = stack.enter_context(
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            )
            stack.callback(other.kill)
            assert other.stdout is not None
            assert other.stdout.readline() == "looks\n"
        for _ in range(500):
            with exclusive_lock(tmp_path):
                assert is_locked(tmp_path)


def test_who_only_looks_is_not_taken_for_a_run(tmp_path: Path) -> None:
    """C7: two `status` at once; each must say that nothing works there."""
    with exclusive_lock(tmp_path):
        pass
    with ThreadPoolExecutor(8) as pool:
        assert not any(pool.map(lambda _: is_locked(tmp_path), range(400)))


def test_looking_needs_no_right_to_write(tmp_path: Path) -> None:
    with exclusive_lock(tmp_path):
        pass
    (tmp_path / ".lock").chmod(0o444)
    assert not is_locked(tmp_path)


UMASK = (
    "import os, sys\nfrom pathlib import Path\nfrom robustbench_aigi.io.files import write_text\n"
    + "os.umask(int(sys.argv[2], 8))\nos.umask = None\nwrite_text(Path(sys.argv[1]), 'text')\n"
)


@pytest.mark.parametrize(("umask", "mode"), [("022", 0o644), ("077", 0o600), ("002", 0o664)])
def test_files_have_the_users_permissions_and_the_umask_is_left_alone(
    tmp_path: Path, umask: str, mode: int
) -> None:
    """C6: the umask of the whole process was 0 for a moment, while another thread wrote."""
    path = tmp_path / "a.txt"
    subprocess.run([sys.executable, "-c", UMASK, str(path), umask], check=True)
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_threads_write_beside_each_other(tmp_path: Path) -> None:
    """`a.csv` and `a.json` of one process had one temporary name."""

    def write(number: int) -> None:
        for name in ("a.csv", "a.json", "a.md"):
            write_text(tmp_path / name, f"{number} {name}\n" * 1000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(40)))
    for name in ("a.csv", "a.json", "a.md"):
        lines = (tmp_path / name).read_text().splitlines()
        assert len(lines) == 1000
        assert len(set(lines)) == 1
        assert lines[0].endswith(name)
    assert len(list(tmp_path.iterdir())) == 3
