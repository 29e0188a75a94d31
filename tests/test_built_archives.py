"""Built sets whose images are in archives, against the same set of image files."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import load_data
from robustbench_aigi.data.audit import audit
from robustbench_aigi.data.exporters import export
from robustbench_aigi.data.plusplus.build import all_builders, build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.contact_sheets import contact_sheets
from robustbench_aigi.data.plusplus.estimate import estimate_build
from robustbench_aigi.data.plusplus.jsonl import write_jsonl
from robustbench_aigi.data.plusplus.parts import SHARD_IMAGES, Part
from robustbench_aigi.data.plusplus.reader import BuiltDataset
from robustbench_aigi.data.plusplus.request import BuildRequest
from robustbench_aigi.data.plusplus.storage import load_storage
from robustbench_aigi.data.plusplus.verify import verify
from robustbench_aigi.errors import DataError, UnknownNameError
from robustbench_aigi.evaluation import evaluate
from robustbench_aigi.executors import InProcessExecutor, PoolExecutor
from robustbench_aigi.pipeline import datasets as data_pipeline
from robustbench_aigi.pipeline.training_data import arrays_of, load_training_data
from robustbench_aigi.progress import silent
from robustbench_aigi.training.image_policy import ImagePolicy
from tests.built_set import TINY_SUITE, contents
from tests.conftest import Linear
from tests.test_data import folder

ARCHIVE_NAMES = ("parquet", "webdataset")
ARCHIVE_ENDINGS = {"parquet": ".parquet", "webdataset": ".tar"}
JPEG_SUITE = """
name = "one"
version = 1
seed = 0
[[attacks]]
id = "jpeg-75"
attack = "jpeg"
"""
TEST_SUITE = Suite.model_validate(TINY_SUITE)


@pytest.fixture(scope="module", autouse=True)
def small_shards() -> object:
    """Shards of 5 images, so that a part has several."""
    patch = pytest.MonkeyPatch()
    patch.setattr("robustbench_aigi.data.plusplus.parts.SHARD_IMAGES", 5)
    yield SHARD_IMAGES
    patch.undo()


def detector() -> Linear:
    return Linear(torch.randn(3, 32, 32, generator=torch.Generator().manual_seed(0)), 0.1)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder(tmp_path_factory.mktemp("source"), count=7)


def parts_of(source: Path) -> dict[str, Part]:
    data = load_data("cifake", str(source))
    return {split: Part(data.split(split), True, 2) for split in ("train", "validation", "test")}


def make(source: Path, out: Path, shards: str | None, workers: int = 1) -> Path:
    by = InProcessExecutor(1) if workers == 1 else PoolExecutor(workers)
    build_plusplus(
        parts_of(source), TEST_SUITE, {"linear": detector()}, out, silent, by, shards=shards
    )
    write_jsonl(out)
    return out


@pytest.fixture(scope="module")
def sets(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {kind: make(source, root / str(kind), kind) for kind in (None, *ARCHIVE_NAMES)}


def archives(built: Path) -> list[Path]:
    return sorted(
        path
        for path in built.rglob("*")
        if path.suffix in ARCHIVE_ENDINGS.values() and path.parent not in (built, built / "parts")
    )


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
def test_a_set_of_archives_is_the_set_of_files(sets: dict[str | None, Path], kind: str) -> None:
    files, packed = (pd.read_parquet(sets[k] / "manifest.parquet") for k in (None, kind))
    pd.testing.assert_frame_equal(packed[files.columns], files)
    assert list(packed.columns.difference(files.columns)) == ["archive", "row"]
    assert {path.suffix for path in archives(sets[kind])} == {ARCHIVE_ENDINGS[kind]}
    assert not list(sets[kind].rglob("*.png"))
    assert len(archives(sets[kind])) == packed["archive"].nunique() < len(packed) / 2
    for split in ("train", "test"):
        one, other = (load_plusplus(sets[k], split) for k in (None, kind))
        assert list(one.contents()) == list(other.contents())
        assert all(map(torch.equal, one.pixels(), other.pixels()))
        assert one.key == other.key


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
def test_a_set_of_archives_does_not_depend_on_workers(
    sets: dict[str | None, Path], source: Path, tmp_path: Path, kind: str
) -> None:
    assert contents(make(source, tmp_path / "two", kind, workers=2)) == contents(sets[kind])


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
def test_a_killed_build_makes_the_shards_that_are_missing_or_cut_short(
    sets: dict[str | None, Path], source: Path, tmp_path: Path, kind: str
) -> None:
    shutil.copytree(sets[kind], tmp_path / "set")
    tables = sorted((tmp_path / "set" / "parts").glob("*.parquet"))
    missing, cut, *kept = archives(tmp_path / "set")
    (tmp_path / "set" / "manifest.parquet").unlink()
    missing.unlink()
    cut.write_bytes(cut.read_bytes()[:-100])
    tables[-1].write_bytes(tables[-1].read_bytes()[:50])
    before = {path: path.stat().st_ino for path in kept}
    make(source, tmp_path / "set", kind)
    assert contents(tmp_path / "set") == contents(sets[kind])
    again = [path for path in kept if path.stat().st_ino != before[path]]
    assert len(again) == 1  # that of the table that was cut short


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
def test_a_second_build_makes_nothing(
    sets: dict[str | None, Path], source: Path, kind: str
) -> None:
    before = {path: path.stat().st_ino for path in sets[kind].rglob("*.*") if path.is_file()}
    build_plusplus(
        parts_of(source), TEST_SUITE, {"linear": detector()}, sets[kind], silent, shards=kind
    )
    changed = [path.name for path, inode in before.items() if path.stat().st_ino != inode]
    assert changed == ["suite.json"]


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
def test_a_damaged_archive_is_named_by_verify_and_made_again(
    sets: dict[str | None, Path], source: Path, tmp_path: Path, kind: str
) -> None:
    assert verify(sets[kind]) == verify(sets[None]) == []
    shutil.copytree(sets[kind], tmp_path / "set")
    middle = archives(tmp_path / "set")[5]
    name = middle.relative_to(tmp_path / "set").as_posix()
    whole = middle.read_bytes()
    middle.write_bytes(whole[: len(whole) // 2])
    assert name in {offender.path for offender in verify(tmp_path / "set")}
    with pytest.raises(DataError, match=rf"{middle.name}.*verify"):
        export(tmp_path / "set", "imagefolder", tmp_path / "out")
    middle.unlink()
    assert name in {offender.path for offender in verify(tmp_path / "set")}
    (tmp_path / "set" / "train" / "more.parquet").write_bytes(b"")
    found = {offender.path: offender.reason for offender in verify(tmp_path / "set")}
    assert found["train/more.parquet"] == "is not in the manifest"
    (tmp_path / "set" / "train" / "more.parquet").unlink()
    make(source, tmp_path / "set", kind)
    assert verify(tmp_path / "set") == []
    assert middle.read_bytes() == whole


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
def test_a_changed_byte_of_an_archive_is_found(
    sets: dict[str | None, Path], tmp_path: Path, kind: str
) -> None:
    shutil.copytree(sets[kind], tmp_path / "set")
    data = load_plusplus(tmp_path / "set", "test", "clean")
    content = list(data.contents())[2]
    path = Path(data.manifest["path"].iloc[2])
    whole = path.read_bytes()
    place = whole.index(content[-20:])
    path.write_bytes(whole[:place] + b"\0" + whole[place + 1 :])
    rows = list(BuiltDataset(tmp_path / "set").rows("test"))
    damaged = next(row for row in rows if row["id"] == data.manifest["id"].iloc[2])
    assert damaged["path"] in {offender.path for offender in verify(tmp_path / "set")}


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
@pytest.mark.parametrize("form", ["imagefolder", "parquet", "webdataset", "raid", "npz"])
def test_exports_are_those_of_the_set_of_files(
    sets: dict[str | None, Path], tmp_path: Path, kind: str, form: str
) -> None:
    for name in (None, kind):
        export(sets[name], form, tmp_path / str(name))
        (tmp_path / str(name) / ".export.json").unlink()
    assert contents(tmp_path / kind) == contents(tmp_path / "None")


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
def test_archives_are_audited_shown_and_trained_on_as_files(
    sets: dict[str | None, Path], tmp_path: Path, kind: str
) -> None:
    found = [audit(load_plusplus(sets[name]), silent) for name in (None, kind)]
    assert found[0].findings == found[1].findings
    for name in (None, kind):
        contact_sheets(sets[name], tmp_path / str(name))
    assert contents(tmp_path / kind) == contents(tmp_path / "None")
    for policy in (None, ImagePolicy(size=24)):
        arrays = [arrays_of(load_plusplus(sets[name], "train"), policy) for name in (None, kind)]
        assert torch.equal(arrays[0].labels, arrays[1].labels)
        assert torch.equal(*(torch.as_tensor(one.groups) for one in arrays))
    training = load_training_data(
        str(sets[kind]), None, None, tmp_path / "skipped.csv", silent, lambda line: None
    )
    assert len(training.train.labels) == len(load_plusplus(sets[kind], "train"))


def test_an_evaluation_names_the_archive_that_is_damaged_and_loses_nothing(
    sets: dict[str | None, Path], tmp_path: Path
) -> None:
    shutil.copytree(sets["parquet"], tmp_path / "set")
    data = load_plusplus(tmp_path / "set", "test", "clean")
    attacks = TINY_SUITE["attacks"][-1:]  # type: ignore[index]
    suite = Suite.model_validate(TINY_SUITE | {"attacks": attacks})
    whole = evaluate({"linear": detector()}, suite, data, tmp_path / "whole")
    middle = Path(data.manifest["path"].iloc[7])
    content = middle.read_bytes()
    middle.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=rf"{middle.name}.*restore it"):
        evaluate({"linear": detector()}, suite, data, tmp_path / "again")
    middle.write_bytes(content)
    assert evaluate({"linear": detector()}, suite, data, tmp_path / "again").equals(whole)


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
def test_an_archive_that_is_damaged_stops_a_training_by_name(
    sets: dict[str | None, Path], tmp_path: Path, kind: str
) -> None:
    shutil.copytree(sets[kind], tmp_path / "set")
    data = load_plusplus(tmp_path / "set", "train")
    middle = Path(data.manifest["path"].iloc[20])
    middle.write_bytes(middle.read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"{middle.name}.*restore it"):
        arrays_of(data)


@pytest.mark.parametrize("kind", ARCHIVE_NAMES)
def test_a_plan_counts_the_bytes_of_archives(
    sets: dict[str | None, Path], source: Path, tmp_path: Path, kind: str
) -> None:
    made = {"linear": detector()}
    plan = estimate_build(parts_of(source), TEST_SUITE, made, tmp_path, shards=kind)
    size = sum(path.stat().st_size for path in sets[kind].rglob("*") if path.is_file()) / 1e6
    planned = float(plan.loc[plan["split"] != "", "megabytes"].sum())  # without contact sheets
    assert size / 1.5 <= planned <= size * 1.5
    storage = load_storage(kind)
    builders = all_builders(parts_of(source), TEST_SUITE, made, storage=storage)
    expected = sum(
        storage.bytes_on_disk(one.make(one.data), len(one.data), len(list(one.places())))
        for one in builders
    )
    own = sum(path.stat().st_size for path in archives(sets[kind]))
    assert expected == pytest.approx(own, rel=0.1)
    done = estimate_build(parts_of(source), TEST_SUITE, made, sets[kind], shards=kind)
    assert done["images"].sum() == 0


def test_other_recipes_read_the_archives_of_a_set(sets: dict[str | None, Path]) -> None:
    for kind in ARCHIVE_NAMES:
        found = load_data("folder", str(sets[kind] / "test"))
        assert len(found) == len(load_plusplus(sets[kind], "test"))


def test_build_takes_a_kind_of_shards(source: Path, tmp_path: Path) -> None:
    suite = tmp_path / "suite.toml"
    suite.write_text(JPEG_SUITE)
    order = BuildRequest(
        dataset="cifake",
        source=str(source),
        attacks=str(suite),
        samples=0,
        shards="webdataset",
    )
    made = data_pipeline.build(order, tmp_path / "set", executor=InProcessExecutor(1))
    assert made["archive"].str.endswith(".tar").all()
    assert verify(tmp_path / "set") == []
    assert "--shards webdataset" in order.command_line(tmp_path / "set")
    wrong = BuildRequest(dataset="cifake", source=str(source), shards="zip")
    with pytest.raises(UnknownNameError, match=r"'zip'. Write --shards parquet or webdataset"):
        data_pipeline.build(wrong, tmp_path / "other", executor=InProcessExecutor(1))
