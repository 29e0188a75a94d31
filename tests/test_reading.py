"""Reading a listed dataset: batches by image size, and memory that does not grow with it."""

import io
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from robustbench_aigi.data import Dataset, dataset, load_data
from robustbench_aigi.data.decoding import decode
from robustbench_aigi.data.reading import read_contents
from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.cells import read_shards, write_shard
from robustbench_aigi.io.files import describe_read_errors
from tests.test_data import picture
from tests.test_sources import files, shard


def mixed(root: Path) -> Path:
    for i in range(24):
        place = root / ("real", "fake")[i % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{i:02d}.png").write_bytes(picture(i, size=((8, 16), (16, 8), (16, 16))[i % 3]))
    return root


def test_shuffled_sizes_come_in_whole_batches_with_their_labels(tmp_path: Path) -> None:
    root = mixed(tmp_path)
    data = load_data("folder", str(root))
    batches = list(data.batches(6))
    assert [len(batch.ids) for batch in batches] == [6, 2] * 3
    assert [identity for batch in batches for identity in batch.ids] == data.manifest["id"].tolist()
    for batch in batches:
        for identity, label, image in zip(batch.ids, batch.labels, batch.images, strict=True):
            pixels = decode((root / f"{identity}.png").read_bytes())
            assert torch.equal((image * 255).round().byte(), pixels)
            assert bool(label) == identity.startswith("fake")


def test_sizes_of_a_parquet_file_are_ordered_within_a_row_group(tmp_path: Path) -> None:
    paths = sorted(mixed(tmp_path / "images").rglob("*.png"))
    rows = [
        {"bytes": path.read_bytes(), "path": f"{path.parent.name}/{path.name}"} for path in paths
    ]
    table = pa.table({"image": rows, "label": [int(path.parent.name == "fake") for path in paths]})
    pq.write_table(table, tmp_path / "test.parquet", row_group_size=12)
    data = load_data("folder", str(tmp_path / "test.parquet"))
    assert [len(batch.ids) for batch in data.batches(100)] == [4] * 6
    assert data.manifest["row"].floordiv(12).is_monotonic_increasing


def test_a_batch_has_a_bounded_number_of_pixels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "BATCH_PIXELS", 300)
    sizes = [
        tuple(batch.images.shape) for batch in load_data("folder", str(mixed(tmp_path))).batches(64)
    ]
    assert sizes == [(2, 3, 8, 16)] * 4 + [(2, 3, 16, 8)] * 4 + [(1, 3, 16, 16)] * 8


@pytest.mark.parametrize("form", ["files", "parquet", "tar"])
def test_reading_holds_a_few_images_however_many_there_are(tmp_path: Path, form: str) -> None:
    size = 2**18
    count = 40
    contents = [np.random.default_rng(i).bytes(size) for i in range(count)]
    paths = [str(tmp_path / f"all.{form}")] * count
    rows = list(range(count))
    if form == "files":
        paths = [str(tmp_path / f"{i}.png") for i in rows]
        rows = [-1] * count
        for path, content in zip(paths, contents, strict=True):
            Path(path).write_bytes(content)
    elif form == "parquet":
        table = pa.table({"image": [{"bytes": c, "path": ""} for c in contents], "label": rows})
        pq.write_table(table, paths[0], row_group_size=2)
    else:
        shard(Path(paths[0]), *((f"{i}.png", content) for i, content in enumerate(contents)))
        rows = [512 + i * (size + 512) for i in rows]
    expected = [hash(content) for content in contents]
    del contents
    manifest = pd.DataFrame({"id": "x", "path": paths, "row": rows})
    tracemalloc.start()
    arrow = pa.total_allocated_bytes()
    try:
        for content, known in zip(read_contents(manifest), expected, strict=True):
            assert hash(content) == known
            assert pa.total_allocated_bytes() - arrow < count * size / 2
        assert tracemalloc.get_traced_memory()[1] < 10 * size
    finally:
        tracemalloc.stop()


def test_a_file_that_changes_after_listing_is_named(tmp_path: Path) -> None:
    data = load_data("folder", str(files(tmp_path, "real", "fake")))
    (tmp_path / "fake" / "1.png").write_bytes(b"changed")
    with pytest.raises(DataError, match=r"fake/1 at .*not an image.*restore it"):
        list(data.batches(2))
    (tmp_path / "fake" / "1.png").unlink()
    with pytest.raises(DataError, match=r"fake/1 at .*No such file"):
        list(data.contents())
    moved = Dataset(
        "x",
        data.manifest.assign(path=str(shard(tmp_path / "x.tar", ("a.png", picture(0)))), row=700),
    )
    with pytest.raises(DataError, match="no file at byte 700"):
        next(moved.contents())


def test_all_that_is_unreadable_is_counted_when_nothing_is_left(tmp_path: Path) -> None:
    for name in ("real", "fake"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.png").write_bytes(b"")
    with pytest.raises(
        DataError,
        match=r"no readable image in the source, 2 skipped; the first: fake/0: the file is em",
    ):
        load_data("folder", str(tmp_path), skipped=tmp_path / "skipped.csv")
    assert len(pd.read_csv(tmp_path / "skipped.csv")) == 2


def test_shards_of_a_cell_are_one_table_or_the_cell_is_named(tmp_path: Path) -> None:
    whole = pd.DataFrame(
        {"id": ["a", "b"], "generator": ["x", "y"], "l2": [0.5, 0.25], "png": [b"", b""]}
    )
    reals = pd.DataFrame({"id": ["c"], "generator": [None], "l2": [0], "png": [b""]})
    odd = whole.assign(l2=["far", "near"])
    places = [tmp_path / f"shard-{index}.parquet" for index in range(3)]
    for table, place in zip((whole, reals, odd), places, strict=True):
        write_shard(table, place, "key")
    found = read_shards(places[:2])
    assert found.columns.tolist() == ["id", "generator", "l2"]
    assert found["id"].tolist() == ["a", "b", "c"]
    assert found["l2"].tolist() == [0.5, 0.25, 0.0]
    assert found["generator"].isna().tolist() == [False, False, True]
    with pytest.raises(DataError, match=r"is damaged.*Delete it and rerun"):
        read_shards(places)
    with pytest.raises(DataError, match="no column logit"):
        read_shards(places[:1], ["id", "logit"])


def test_a_number_too_large_for_its_column_is_damage(tmp_path: Path) -> None:
    with (
        pytest.raises(DataError, match=r"matrix.csv is damaged \(OverflowError.*Make it again"),
        describe_read_errors(tmp_path / "matrix.csv", "Make it again."),
    ):
        pd.read_csv(io.StringIO(f"n\n{'9' * 40}\n"), dtype={"n": "Int64"})
