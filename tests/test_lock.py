"""Two processes on one folder: the second is told, nothing is spoilt, and a killed holder holds nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

from robustbench_aigi.errors import CannotWrite, UserError
from robustbench_aigi.files import alone, held

HOLD = "import sys, time\nfrom pathlib import Path\nfrom robustbench_aigi.files import alone\n" + (
    "with alone(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(600)\n"
)


def test_the_second_process_is_told_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    for place in (tmp_path / "run", tmp_path / "mine.safetensors"):
        command = [sys.executable, "-c", HOLD, str(place)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            assert first.stdout.readline() == "held\n"
            assert held(place)
            with pytest.raises(UserError, match="another process works on"), alone(place):
                pytest.fail("the lock was given twice")
            first.kill()
        assert not held(place)
        with alone(place), alone(place):  # one process may ask again
            assert held(place)
        assert not held(place)


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot write to"), alone(tmp_path / "file"):
        pytest.fail("a file was taken for a folder")


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    run, deep, mine = tmp_path / "run", tmp_path / "run" / "cells" / "one", tmp_path / "mine.safetensors"
    deep.mkdir(parents=True)
    for path in (deep / "shard-0000.12.tmp", run / "matrix.7.tmp", tmp_path / "mine.34.tmp"):
        path.write_text("half")
    kept = [deep / "shard-0000.parquet", run / "notes.tmp", tmp_path / "other.34.tmp"]
    for path in kept:
        path.write_text("whole")
    with alone(run), alone(mine):
        (run / "matrix.8.tmp").write_text("being written")
        with alone(run):  # the same process, again
            assert (run / "matrix.8.tmp").is_file()
    assert sorted(p for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith(".lock")) == sorted(
        [*kept, run / "matrix.8.tmp"]
    )
