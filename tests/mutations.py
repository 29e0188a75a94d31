"""Files that users get from strangers, and what reads each: mutated, it is read or rejected in one
clear message.
"""

import io
import json
import os
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from PIL import Image

from robustbench_aigi import catalogue
from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import load_data
from robustbench_aigi.data.plusplus.verify import verify
from robustbench_aigi.data.recipes import read_recipe
from robustbench_aigi.detectors import load_detector, load_trained, save_detector
from robustbench_aigi.errors import UserError
from robustbench_aigi.judging import judge, read_image
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.report import read_runs, write_report
from robustbench_aigi.report.gate import load_policy
from robustbench_aigi.report.leaderboard import boards
from tests import built_set
from tests.finished_run import SUITE, detector

SECONDS = 60
NASTY = (
    b"../../outside/evil",
    b"/robustbench-aigi-evil",
    b"-1",
    b"0",
    b"1e309",
    b"nan",
    b"99999999999999999999",
    b"''",
    b"null",
    b"[]",
    b"{}",
    b"true",
    b"\xff\xfe",
    b"\x00",
    b"<script>alert(1)</script>",
    b"jpeg",
    b"pgd-linf",
    b"a" * 5000,
)


@dataclass(frozen=True)
class Case:
    """A kind of file: ``target`` in a folder that ``make`` fills, and what reads it."""

    target: str
    make: Callable[[Path], object]
    act: Callable[[Path], object]


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, format=kind)
    return file.getvalue()


def image(kind: str) -> Case:
    name = f"image.{kind}"
    return Case(
        name,
        lambda p: (p / name).write_bytes(picture(kind)),
        lambda p: judge(read_image(p / name), load_trained("cifake-cnn")),
    )


def text(kind: str, name: str, read: Callable[[str], object]) -> Case:
    """A TOML file that ships."""

    def make(folder: Path) -> object:
        return shutil.copy(catalogue.folder(kind) / f"{name}.toml", folder / "mine.toml")

    return Case("mine.toml", make, lambda p: read(str(p / "mine.toml")))


def checkpoint(folder: Path) -> None:
    save_detector(detector("mine"), folder / "mine.safetensors")


def table(folder: Path) -> None:
    for split in ("train", "test"):
        rows = [
            {"image": {"bytes": picture("png"), "path": f"{i}.png"}, "label": i % 2}
            for i in range(6)
        ]
        pd.DataFrame(rows).to_parquet(folder / f"{split}-00000-of-00001.parquet")


def tree(folder: Path) -> None:
    for split in ("train", "test"):
        for label in ("REAL", "FAKE"):
            (folder / split / label).mkdir(parents=True)
            for i in range(2):
                (folder / split / label / f"{i}.png").write_bytes(picture("png"))


def listed(folder: Path) -> None:
    """An image folder with metadata."""
    rows = []
    for i in range(6):
        (folder / f"{i}.png").write_bytes(picture("png"))
        rows.append(
            {
                "file_name": f"{i}.png",
                "label": i % 2,
                "split": "test",
                "generator": "sd" if i % 2 else None,
            }
        )
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))


def archive(folder: Path) -> None:
    for split in ("train", "test"):
        with tarfile.open(folder / f"{split}-000000.tar", "w") as tar:
            for i in range(4):
                for ending, content in (
                    ("png", picture("png")),
                    ("json", json.dumps({"label": i % 2}).encode()),
                ):
                    member = tarfile.TarInfo(f"{split}/{i}.{ending}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))


def built(folder: Path) -> None:
    made = built_set.make(folder / "made")
    shutil.copytree(made, folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "made")


def run(folder: Path) -> None:
    tree(folder / "source")
    data = load_data("cifake", str(folder / "source"), "test")
    evaluate([detector("good")], SUITE, data, folder)


def stopped(folder: Path) -> None:
    run(folder)
    for name in ("matrix.csv", "adequacy.json"):
        (folder / name).unlink()


def reported(folder: Path) -> None:
    write_report(read_runs([folder]), folder / "out")


def cifake(folder: Path) -> object:
    return [len(batch.ids) for batch in load_data("cifake", str(folder), "test")]


CASES: Mapping[str, Case] = {
    **{f"image ({kind})": image(kind) for kind in ("png", "jpeg", "webp", "gif", "bmp")},
    "suite": text("attacks", "quick", load_suite),
    "recipe": text("datasets", "mini", read_recipe),
    "policy": text("policies", "release", load_policy),
    "checkpoint": Case(
        "mine.safetensors", checkpoint, lambda p: load_detector(str(p / "mine.safetensors"))
    ),
    "Parquet of images": Case("test-00000-of-00001.parquet", table, cifake),
    "folder of images": Case("test/FAKE/0.png", tree, cifake),
    "metadata": Case("metadata.jsonl", listed, lambda p: len(load_data("folder", str(p), "test"))),
    "archive": Case("test-000000.tar", archive, lambda p: len(load_data("cifake", str(p), "test"))),
    "manifest": Case("manifest.parquet", built, verify),
    "matrix.csv": Case("matrix.csv", run, reported),
    "matrix.json": Case("matrix.json", run, boards),
    "run.json": Case("run.json", run, reported),
    "adequacy.json": Case("adequacy.json", run, reported),
    "grid": Case("plan.json", stopped, reported),
    "contents of a cell": Case("cells/good/clean-clean/cell.json", stopped, reported),
    "shard of a cell": Case("cells/good/white-box-pgd-2/shard-0000.parquet", stopped, reported),
}


@st.composite
def mutated(draw: st.DrawFn, content: bytes) -> bytes:
    """A few of: a byte changed, a piece cut, doubled, or replaced by something nasty, the end
    lost.
    """
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(content) - 1)))
        length = draw(st.integers(0, min(64, len(content) - at)))
        how = draw(st.sampled_from(("byte", "cut", "double", "nasty", "end")))
        if how == "byte":
            content = content[:at] + bytes([draw(st.integers(0, 255))]) + content[at + 1 :]
        elif how == "cut":
            content = content[:at] + content[at + length :]
        elif how == "double":
            content = content[:at] + content[at : at + length] * 2 + content[at + length :]
        elif how == "nasty":
            content = content[:at] + draw(st.sampled_from(NASTY)) + content[at + length :]
        else:
            content = content[:at]
    return content


class Hung(BaseException):
    """Reading took longer than a minute."""


@contextmanager
def no_longer() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def outcome(case: Case, folder: Path, content: bytes) -> str:
    """What comes of a file in a prepared folder: read, or the class of the message; other
    exceptions pass.

    Raises ``AssertionError`` if a message is empty, or anything appears outside the folder.
    """
    (folder / case.target).write_bytes(content)
    before = outside(folder)
    cwd, message = Path.cwd(), "read, so there is none"
    os.chdir(folder)
    try:
        with no_longer():
            case.act(folder)
        found = "read"
    except UserError as error:
        found, message = type(error).__name__, str(error)
    finally:
        os.chdir(cwd)
    assert len(message) > 20, "a message says what came and what to do"
    assert outside(folder) == before, "a file was written outside the folder"
    assert not Path("/robustbench-aigi-evil").exists()
    return found


def outside(folder: Path) -> set[Path]:
    return {path for path in folder.parent.rglob("*") if folder not in (path, *path.parents)}
