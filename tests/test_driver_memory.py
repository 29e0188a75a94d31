"""What the driver of an evaluation holds: blocks of a manifest and columns of numbers."""

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.data.manifest_file import ManifestFile
from robustbench_aigi.data.rows import StoredRows
from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation import evaluate
from robustbench_aigi.evaluation.cell_runner import CellJob, CellRunner
from robustbench_aigi.evaluation.cells import SHARD_SIZE, write_shard
from robustbench_aigi.evaluation.run_state import read_cells
from robustbench_aigi.evaluation.scores import auc_interval, delong_interval
from robustbench_aigi.evaluation.stored_cells import CleanLogits, StoredCell
from robustbench_aigi.io.hashing import digest, text_digest
from robustbench_aigi.pipeline.evaluate import evaluate as evaluate_and_report
from robustbench_aigi.progress import silent
from tests.benchmarks.driver import find_nothing, rows_of, write_manifest
from tests.built_set import TINY_SUITE
from tests.conftest import Linear

LARGE_ROWS = 200_000
ONE_ATTACK = Suite.model_validate(
    TINY_SUITE | {"attacks": TINY_SUITE["attacks"][:1]}  # type: ignore[index]
)


def linear() -> Linear:
    return Linear(torch.linspace(-1, 1, 3 * 32 * 32).reshape(3, 32, 32), 0.1)


def stored(data: Dataset, path: Path) -> Dataset:
    data.manifest.to_parquet(path, index=False, row_group_size=7)
    return Dataset(data.name, StoredRows(ManifestFile(path)))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "manifest.parquet"
    write_manifest(path, LARGE_ROWS)
    return path


@pytest.fixture
def no_whole_manifest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every manifest of more than a shard raise when all of it is asked for."""
    whole = Dataset.manifest.func  # type: ignore[attr-defined]

    def manifest(data: Dataset) -> pd.DataFrame:
        if len(data) > SHARD_SIZE:
            raise AssertionError(f"{len(data)} rows of a manifest are read as a whole")
        found: pd.DataFrame = whole(data)
        return found

    monkeypatch.setattr(Dataset, "manifest", property(manifest))


def test_stored_rows_are_those_in_memory(tiny_recipe: str, tmp_path: Path) -> None:
    data = load_data(tiny_recipe)
    odd = data.manifest.assign(id=[f'{name}, "ä"' for name in data.manifest["id"]])
    for one in (data, Dataset("odd", odd)):
        other = stored(one, tmp_path / f"{one.name}.parquet")
        pd.testing.assert_frame_equal(other.manifest, one.manifest)
        assert other.key == one.key
        assert other.one_size() == one.one_size()
        split = one.split("test")
        assert other.split("test").key == split.key
        for count in (2, 6, 10_000):
            assert other.limit(count).key == one.limit(count).key
            assert other.split("test").limit(count).key == split.limit(count).key
        parts = list(zip(other.slices(5), one.slices(5), strict=True))
        assert all(mine.key == theirs.key for mine, theirs in parts)
        sent = pickle.loads(pickle.dumps(parts[1][0]))
        pd.testing.assert_frame_equal(sent.manifest, parts[1][1].manifest)
        chosen = set(one.manifest["id"].iloc[[3, 5]])
        found = other.limit(10_000).with_values("id", chosen)
        assert set(found.manifest["id"]) == chosen
        assert other.with_values("id", {"none"}).manifest.empty
        with pytest.raises(DataError, match=r"no 'other' split\. It has: "):
            other.split("other")


def test_a_manifest_that_changes_under_a_run_is_reported(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "manifest.parquet"
    write_manifest(path, 600)
    sent = pickle.dumps(Dataset("x", StoredRows(ManifestFile(path))).slices(SHARD_SIZE)[1])
    write_manifest(path, 500)
    with pytest.raises(DataError, match=r"has 500 rows, and had 600.*Load the dataset again"):
        pickle.loads(sent)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match="is damaged"):
        ManifestFile(path)


def test_a_text_in_pieces_has_the_digest_of_the_whole() -> None:
    pieces = ['a,"b"\n', "", "\\ü😀\t", "end"]
    assert text_digest(pieces) == digest("".join(pieces))


def test_an_evaluation_of_stored_rows_is_that_of_rows_in_memory(
    tiny_recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustbench_aigi.evaluation.cell_runner.SHARD_SIZE", 5)
    data = load_data(tiny_recipe, split="test")
    detector = linear()
    matrices = [
        evaluate({"linear": detector}, ONE_ATTACK, images, tmp_path / str(number))
        for number, images in enumerate((data, stored(data, tmp_path / "test.parquet")))
    ]
    pd.testing.assert_frame_equal(matrices[0], matrices[1])
    one, other = (read_cells(tmp_path / str(number)) for number in range(2))
    for key in one:
        pd.testing.assert_frame_equal(one[key], other[key])
    again = tmp_path / "0" / "cells"
    before = {path: path.stat().st_mtime_ns for path in again.rglob("shard-*")}
    evaluate({"linear": detector}, ONE_ATTACK, stored(data, tmp_path / "b.parquet"), tmp_path / "0")
    assert before == {path: path.stat().st_mtime_ns for path in again.rglob("shard-*")}


@pytest.mark.usefixtures("no_whole_manifest")
def test_no_step_of_a_run_reads_the_whole_manifest(
    large: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = Dataset("large", StoredRows(ManifestFile(large)))
    with pytest.raises(AssertionError, match="as a whole"):
        assert data.manifest.empty
    runner = CellRunner("linear", linear(), tmp_path, silent)
    few = Dataset("large", data.rows.take(slice(0, 2000)))
    job = CellJob("clean", "clean", few, find_nothing)
    cell = runner.compute([job])["clean", "clean"]
    assert isinstance(cell, StoredCell)
    assert len(cell.names) == 8
    rows_of(cell)
    assert len(data.limit(64)) == 64


def test_the_driver_holds_few_bytes_per_row(large: Path, tmp_path: Path) -> None:
    """A manifest of strings takes 160 bytes per row and a table of a cell 111, for each cell."""
    tracemalloc.start()
    data = Dataset("large", StoredRows(ManifestFile(large)))
    shards = data.slices(SHARD_SIZE)
    assert all(shard.key for shard in shards)
    assert len(data.limit(64)) == 64
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / LARGE_ROWS < 20
    assert peak / LARGE_ROWS < 100


def test_numbers_of_a_cell_are_small_and_those_that_are_stored(tmp_path: Path) -> None:
    tables = [find_nothing(shard) for shard in Dataset("x", _manifest()).slices(20)]
    for number, table in enumerate(tables):
        write_shard(table.assign(forwards=number * 50_000), tmp_path / f"{number}.parquet", "")
    cell = StoredCell(tmp_path, tuple(f"{number}.parquet" for number in range(4)))
    whole = cell()
    small = cell.numbers()
    for name in whole.columns.difference(["id", "generator"]):
        assert small[name].tolist() == whole[name].tolist(), name
    assert small["generator"].astype(object).tolist() == whole["generator"].tolist()
    assert small["id"].nunique() == len(whole)
    assert small.memory_usage(deep=True).sum() / len(small) < 60
    known = CleanLogits.read(cell)
    shard = Dataset("y", pd.DataFrame({"id": ["none", *whole["id"].iloc[[9, 2]]]}))
    found = known.of(shard)
    assert np.isnan(found[0])
    assert found[1:] == whole["clean_logit"].iloc[[9, 2]].tolist()


def _manifest() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"{n}.png" for n in range(80)],
            "label": [n % 2 for n in range(80)],
            "generator": [None if n % 2 == 0 else f"model-{n % 3}" for n in range(80)],
        }
    )


def test_the_interval_without_resampling_is_that_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    labels = pd.Series(rng.integers(0, 2, 3000))
    logits = pd.Series((rng.normal(size=3000) + 0.7 * labels).round(1))
    found = delong_interval(labels.to_numpy() == 1, logits.to_numpy())
    assert found == pytest.approx(auc_interval(labels, logits), abs=0.003)


def test_a_report_of_stored_rows_is_written(tiny_recipe: str, tmp_path: Path) -> None:
    data = stored(load_data(tiny_recipe, split="test"), tmp_path / "test.parquet")
    detector = linear()
    evaluate_and_report([detector], ONE_ATTACK, data, tmp_path / "run")
    assert (tmp_path / "run" / "report.html").is_file()
