import errno
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from robustbench_aigi.data.exporters import export, export_formats
from robustbench_aigi.errors import DataError, UnknownNameError, WriteError
from tests.built_set import contents, make
from tests.test_data import picture


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("set"), samples=0)


def test_a_killed_export_leaves_nothing_and_begins_anew(built: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom robustbench_aigi.data.exporters import"
        " export\ndef die(task, done, total):\n    if 'test' in task and done: os.kill(os.getpid(),"
        " 9)\nexport(Path(sys.argv[1]), 'parquet', Path(sys.argv[2]), die)\n"
    )
    out = tmp_path / "out"
    done = subprocess.run([sys.executable, "-c", code, str(built), str(out)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not out.exists()
    assert [p.name for p in tmp_path.iterdir()] == [".out.exporting"]
    export(built, "parquet", out)
    export(built, "parquet", tmp_path / "other")
    assert contents(out) == contents(tmp_path / "other")
    assert {p.name for p in tmp_path.iterdir()} == {"out", "other"}


def test_another_folder_is_not_touched(built: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        export(built, "parquet", out)
    assert contents(tmp_path) == {"out/mine.txt": b"mine"}
    (out / "mine.txt").unlink()
    export(built, "npz", out)
    with pytest.raises(DataError, match="is not empty"):
        export(built, "parquet", out)
    with pytest.raises(DataError, match="inside the set"):
        export(built, "parquet", built / "out")
    with pytest.raises(
        UnknownNameError,
        match=r"no export format called 'zip'\. Known: imagefolder, .*list exports",
    ):
        export(built, "zip", tmp_path / "zip")
    with pytest.raises(DataError, match=r"no whole manifest\.parquet"):
        export(tmp_path, "npz", tmp_path.with_name("elsewhere"))


def test_a_full_disk_is_said_and_leaves_nothing(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WriteError, match="No space left on device"):
        export(built, "imagefolder", tmp_path / "out")
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(WriteError, match=r"cannot write .*out"):
        export(built, "imagefolder", tmp_path / "file" / "out")


HOSTILE: dict[str, tuple[str | int, str]] = {
    "path": ("../../secret.png", "leads out of|its folder is"),
    "attack": ("../../../../tmp/evil", "its folder is"),
    "split": ("../evil", "a split called"),
    "label": (7, "only 0 and 1 are labels"),
    "sha256": ("0" * 64, "is not the file that the manifest describes"),
}


@pytest.mark.parametrize("column", HOSTILE)
@pytest.mark.parametrize("form", export_formats.names())
def test_a_hostile_manifest_writes_and_reads_nothing(
    column: str, form: str, built: Path, tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path / "a" / "built")
    (tmp_path / "secret.png").write_bytes(picture(0))
    place = tmp_path / "a" / "built" / "manifest.parquet"
    value, expected = HOSTILE[column]
    rows = pd.read_parquet(place)
    rows.loc[3, column] = value
    rows.to_parquet(place, index=False)
    before = contents(tmp_path)
    with pytest.raises(DataError, match=expected):
        export(tmp_path / "a" / "built", form, tmp_path / "out")
    assert contents(tmp_path) == before
