"""Datasets in WebDataset and Parquet files."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustbench_aigi.data import load_data
from robustbench_aigi.errors import DataError
from tests.test_data import picture
from tests.test_sources import own, seen, shard


def test_webdataset_shards_are_read_in_place(tmp_path: Path) -> None:
    images = [picture(i, kind=kind) for i, kind in enumerate(("PNG", "JPEG", "PNG", "PNG"))]
    about = {"label": "fake", "generator": "flux", "category": "cat", "parent": "a"}
    shard(
        tmp_path / "data-train-000000.tar",
        *[
            ("a/0.cls", b"0"),
            ("a/0.png", images[0]),
            ("a/1.jpg", images[1]),
            ("a/1.json", json.dumps(about).encode()),
        ],
    )
    shard(
        tmp_path / "test" / "00.tar",
        ("7.input.png", images[2]),
        ("7.cls", b"fake"),
        ("8.png", images[3]),
    )
    shard(
        tmp_path / "test" / "01.tar",
        (f"{'long/' * 40}9.png", images[3]),
        (f"{'long/' * 40}9.cls", b"real"),
    )
    data = load_data(
        own(tmp_path, validation_share="0"),
        str(tmp_path),
        ("train", "test"),
        skipped=tmp_path / "s.csv",
    )
    found = seen(data)
    assert ("test/7", 1, "test", "unknown", "") in found
    rows = data.manifest.set_index("id")
    long = f"test/{'long/' * 40}9"
    contents = dict(zip(data.manifest["id"], data.contents(), strict=True))
    expected = {"test/7": images[2], long: images[3]}
    assert {identity: contents[identity] for identity in expected} == expected
    assert rows.loc[long, "label"] == 0
    assert pd.read_csv(tmp_path / "s.csv")["id"].tolist() == ["00.tar/8"]


def test_webdataset_json_carries_generator_category_parent_and_split(tmp_path: Path) -> None:
    samples = []
    for i in range(8):
        about = {
            "label": i % 2,
            "generator": f"g{i % 2}",
            "category": "cat",
            "parent": f"p{i // 2}",
            "split": "val",
        }
        samples += [(f"{i}.json", json.dumps(about).encode()), (f"{i}.png", picture(i))]
    data = load_data("folder", str(shard(tmp_path / "x.tar", *samples)))
    assert ("validation/3", 1, "validation", "g1", "cat") in seen(data)
    assert set(data.manifest["parent"]) == {"p0", "p1", "p2", "p3"}


def test_parquet_class_names_are_read_for_generators_too(tmp_path: Path) -> None:
    names = {"label": ["real", "fake"], "generator": ["Real", "ADM"]}
    info = {"info": {"features": {column: {"names": own} for column, own in names.items()}}}
    rows = [{"bytes": picture(i), "path": "same.png"} for i in range(4)]
    table = pa.table({"image": rows, "label": [0, 1, 0, 1], "generator": [0, 1, 0, 1]})
    table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, tmp_path / "validation-00000-of-00001.parquet")
    data = load_data("tiny-genimage", str(tmp_path))
    assert data.manifest["generator"].tolist() == ["Real", "ADM", "Real", "ADM"]
    assert data.manifest["id"].tolist() == [
        "test/same",
        "test/same~1",
        "test/same~2",
        "test/same~3",
    ]
    assert data.manifest["label"].tolist() == [0, 1, 0, 1]


def zeros(content: bytes) -> bytes:
    return bytes(len(content))


def with_a_hole(content: bytes) -> bytes:
    tenth = len(content) // 10
    return content[:tenth] + bytes(tenth) + content[2 * tenth :]


def first_half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def nothing(content: bytes) -> bytes:
    return b""


def three_shards(folder: Path, ending: str) -> Path:
    """Write three files of eight images; return the second."""
    folder.mkdir()
    for number in range(3):
        files = [picture(10 * number + i) for i in range(8)]
        if ending == ".tar":
            members = [
                member
                for i, file in enumerate(files)
                for member in ((f"{number}{i}.png", file), (f"{number}{i}.cls", b"01"[i % 2 :][:1]))
            ]
            shard(folder / f"test-{number}.tar", *members)
        else:
            images = [{"bytes": file, "path": f"{number}{i}.png"} for i, file in enumerate(files)]
            table = pa.table({"image": images, "label": [0, 1] * 4})
            pq.write_table(table, folder / f"test-{number}.parquet", row_group_size=2)
    return folder / f"test-1{ending}"


@pytest.mark.parametrize(
    ("ending", "damage"),
    [(".tar", zeros), (".tar", with_a_hole), (".tar", first_half), (".parquet", with_a_hole)],
)
def test_a_damaged_shard_in_the_middle_costs_its_own_images_only(
    ending: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    hurt = three_shards(tmp_path / "source", ending)
    hurt.write_bytes(damage(hurt.read_bytes()))
    skipped = tmp_path / "skipped.csv"
    data = load_data("folder", str(hurt.parent), "test", skipped=skipped)
    found = set(data.manifest["id"])
    assert {f"test/{number}{i}" for number in (0, 2) for i in range(8)} <= found
    assert len(list(data.pixels())) == len(found) < 24
    assert pd.read_csv(skipped)["id"].str.contains(r"test-1|test/1").any()


@pytest.mark.parametrize(
    ("ending", "damage"),
    [(".tar", nothing), (".parquet", nothing), (".parquet", zeros), (".parquet", first_half)],
)
def test_a_shard_that_tells_nothing_is_named(
    ending: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    hurt = three_shards(tmp_path / "source", ending)
    hurt.write_bytes(damage(hurt.read_bytes()))
    with pytest.raises(
        DataError, match=rf"test-1\{ending} is no readable .* out of (its|the) folder"
    ):
        load_data("folder", str(hurt.parent), "test")
    hurt.unlink()
    assert len(load_data("folder", str(hurt.parent), "test")) == 16
