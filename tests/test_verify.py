import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from robustbench_aigi.data.decoding import decode, encode_png
from robustbench_aigi.data.plusplus.jsonl import json_line, write_jsonl, write_lines
from robustbench_aigi.data.plusplus.reader import BuiltDataset
from robustbench_aigi.data.plusplus.verify import verify
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.hashing import file_digest
from tests.built_set import make
from tests.test_data import picture


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = make(tmp_path_factory.mktemp("set"))
    write_jsonl(built)
    return built


@pytest.fixture
def built(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "built"))


def rows_of(built: Path) -> pd.DataFrame:
    return pd.read_parquet(built / "manifest.parquet")


def first(
    built: Path, attack: str, split: str = "test", label: int = 1, place: int = 0
) -> "pd.Series[str]":
    rows = rows_of(built)
    return rows[
        (rows["attack"] == attack) & (rows["split"] == split) & (rows["label"] == label)
    ].iloc[place]


def edit(built: Path, identity: str, **values: str | float) -> None:
    """Change a row, and the JSON Lines with it, as a forger would."""
    rows = rows_of(built)
    for name, value in values.items():
        rows.loc[rows["id"] == identity, name] = value
    rows.to_parquet(built / "manifest.parquet", index=False)
    write_lines(built / "manifest.jsonl", map(json_line, BuiltDataset(built).rows()))


def repaint(built: Path, attack: str, change: int, pixels: int, kind: str = "PNG") -> str:
    """Change values of one image further from its source and forge its hash; returns its path."""
    row = first(built, attack)
    rows = rows_of(built)
    image = decode((built / rows.loc[rows["id"] == row["source"], "path"].item()).read_bytes())
    image[0].view(-1)[:pixels] = (image[0].view(-1)[:pixels].int() ^ change).byte()
    (built / row["path"]).write_bytes(encode_png(image) if kind == "PNG" else picture(0, kind=kind))
    edit(built, row["id"], sha256=file_digest(built / row["path"]))
    return row["path"]


def test_a_set_as_it_was_built_has_no_offender(built: Path) -> None:
    seen: list[tuple[int, int]] = []
    assert verify(built, lambda task, done, total: seen.append((done, total))) == []
    assert seen[-1] == (len(rows_of(built)),) * 2
    (built / "test" / "clean" / "REAL" / "half.123.tmp").write_bytes(b"left by a killed run")
    (built / ".gitattributes").write_text("")
    assert verify(built) == []


def flip(built: Path) -> str:
    path = first(built, "jpeg-75")["path"]
    content = bytearray((built / path).read_bytes())
    content[-20] ^= 1
    (built / path).write_bytes(content)
    return path


def swap(built: Path) -> str:
    one, other = (built / first(built, "pgd-linf-8", place=place)["path"] for place in (0, 1))
    held = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(held)
    return first(built, "pgd-linf-8", place=1)["path"]


def swap_and_forge(built: Path) -> str:
    path = swap(built)
    for place in (0, 1):
        row = first(built, "pgd-linf-8", place=place)
        edit(built, row["id"], sha256=file_digest(built / row["path"]))
    return path


def delete(built: Path) -> str:
    path = first(built, "clean")["path"]
    (built / path).unlink()
    return path


def empty(built: Path) -> str:
    path = first(built, "clean")["path"]
    (built / path).write_bytes(b"")
    return path


def add(built: Path) -> str:
    (built / "test" / "clean" / "FAKE" / "more.png").write_bytes(picture(1))
    return "test/clean/FAKE/more.png"


def add_a_link(built: Path) -> str:
    (built / "test" / "linked").symlink_to(built.parent)
    return "test/linked"


def move_out(built: Path) -> str:
    row = first(built, "clean")
    shutil.move(built / row["path"], built.parent / "moved.png")
    (built / row["path"]).symlink_to(built.parent / "moved.png")
    return row["path"]


def changed(name: str, attack: str, value: str | float) -> Callable[[Path], str]:
    def change(built: Path) -> str:
        row = first(built, attack)
        edit(built, row["id"], **{name: value})
        return row["path"]

    return change


def relabel(built: Path) -> str:
    """The label of a perturbed image, its path and its file, but not its source."""
    row = first(built, "pgd-l2-1")
    path = row["path"].replace("/FAKE/", "/REAL/")
    shutil.move(built / row["path"], built / path)
    edit(built, row["id"], label=0, path=path)
    return path


def twin(built: Path) -> str:
    edit(built, first(built, "clean")["id"], id=first(built, "clean", place=1)["id"])
    return "manifest.parquet"


def cross(built: Path) -> str:
    edit(built, first(built, "clean")["id"], parent=first(built, "clean", split="train")["parent"])
    return "manifest.parquet"


def stale(built: Path) -> str:
    lines = (built / "manifest.jsonl").read_text().splitlines(keepends=True)
    (built / "manifest.jsonl").write_text("".join(lines[:-1]))
    return "manifest.jsonl"


def other_suite(built: Path) -> str:
    suite = json.loads((built / "suite.json").read_text())
    suite["attacks"][0]["with"]["eps"] = 4
    (built / "suite.json").write_text(json.dumps(suite))
    return first(built, "pgd-linf-8")["path"]


def no_suite(built: Path) -> str:
    (built / "suite.json").unlink()
    return "suite.json"


TAMPERED: dict[str, tuple[Callable[[Path], str], str]] = {
    "a flipped byte": (flip, "SHA-256 is .* the manifest says"),
    "two swapped files": (swap, "SHA-256 is"),
    "two swapped files, hashes forged": (swap_and_forge, "over the budget of 8"),
    "a deleted file": (delete, "^is missing$"),
    "an emptied file": (empty, "the file is empty"),
    "an added file": (add, "not in the manifest"),
    "an added link": (add_a_link, "not in the manifest"),
    "a file replaced by a link": (move_out, "leads out of"),
    "a path that leads out": (changed("path", "clean", "../../etc/passwd"), ""),
    "a changed label": (changed("label", "clean", 0), "its folder is test/clean/FAKE"),
    "a label that is none": (changed("label", "jpeg-75", 2), "only 0 and 1"),
    "a generated image called real": (
        changed("label", "diffusion", 0),
        "was generated, so its label is 1",
    ),
    "a label unlike its source's": (relabel, "its label is 0, and its source's is 1"),
    "another split": (
        changed("split", "jpeg-75", "train"),
        "its split is train, and its source's is test",
    ),
    "an unknown source": (changed("source", "jpeg-75", "nobody"), "its source nobody is not among"),
    "another source's hash": (
        changed("parent_sha256", "jpeg-75", "f" * 64),
        "source's SHA-256 is not ffff",
    ),
    "another id": (changed("id", "jpeg-75", "x#y"), "its id is x#y"),
    "another linf": (changed("linf", "pgd-linf-8", 7), "its linf is 8, and the manifest says 7"),
    "another l2": (changed("l2", "jpeg-75", 0.5), "its l2 is .*, and the manifest says 0.5"),
    "another l0": (changed("l0", "jpeg-75", 0), "its l0 is .*, and the manifest says 0"),
    "another psnr": (changed("psnr", "jpeg-75", 60.0), "its psnr is"),
    "another eps": (changed("eps", "pgd-linf-8", 4.0), "its eps is 4.0, and the suite says 8"),
    "an id twice": (twin, "is there 2 times"),
    "a parent on both sides": (cross, "the parent .* is in .* and"),
    "JSON Lines of another manifest": (stale, "differs from manifest.parquet"),
    "L-inf over the budget": (
        lambda built: repaint(built, "pgd-linf-8", 128, 1),
        "its linf is 128, over the budget",
    ),
    "L2 over the budget": (
        lambda built: repaint(built, "pgd-l2-1", 128, 9),
        "its l2 is .* over the budget of 1",
    ),
    "L0 over the budget": (
        lambda built: repaint(built, "pixels", 1, 9),
        "its l0 is 9, over the budget of 3",
    ),
    "perturbed, stored as JPEG": (
        lambda built: repaint(built, "jpeg-75", 0, 0, "JPEG"),
        "no 8-bit RGB PNG",
    ),
    "another suite": (other_suite, "its linf is 8, over the budget of 4"),
    "no suite": (no_suite, "budgets are not checked"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_each_offender_is_named_with_the_reason(case: str, built: Path) -> None:
    tamper, reason = TAMPERED[case]
    path = tamper(built)
    found = verify(built)
    path = "../../etc/passwd" if "leads out" in case else path
    assert any(
        offender.path == path and re.search(reason, offender.reason) for offender in found
    ), found


def test_one_wrong_file_is_one_offender(built: Path) -> None:
    path = flip(built)
    assert {offender.path for offender in verify(built)} == {path}


def test_a_suite_cannot_make_verify_run_code(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil_module.py").write_text("raise SystemExit('ran')")
    monkeypatch.syspath_prepend(tmp_path)
    suite = json.loads((built / "suite.json").read_text())
    suite["attacks"][0]["attack"] = "evil_module:Attack"
    (built / "suite.json").write_text(json.dumps(suite))
    assert verify(built) == []


def test_what_is_no_set_has_a_message(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no whole manifest\.parquet"):
        verify(tmp_path)
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"no whole manifest\.parquet"):
        verify(tmp_path)
    pd.DataFrame({"id": ["a"]}).to_parquet(tmp_path / "manifest.parquet")
    with pytest.raises(DataError, match="lacks label"):
        verify(tmp_path)
