"""Parquet files that are damaged, and labels and names as people write them."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustbench_aigi.data import load_data
from robustbench_aigi.errors import DataError
from tests.test_data import picture


def test_parquet_rows_with_bad_names_or_no_bytes_are_listed(tmp_path: Path) -> None:
    rows: list[dict[str, object] | None] = [
        {"bytes": picture(i), "path": f"{i}.png"} for i in range(4)
    ]
    rows += [
        {"bytes": picture(9), "path": "../../../etc/passwd"},
        {"bytes": None, "path": "lost.png"},
        None,
    ]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array(rows, kind), "label": [0, 1, 0, 1, 0, 1, 0]}),
        tmp_path / "test.parquet",
    )
    data = load_data("folder", str(tmp_path / "test.parquet"), skipped=tmp_path / "skipped.csv")
    reasons = pd.read_csv(tmp_path / "skipped.csv").set_index("id")["reason"].to_dict()
    assert reasons.keys() == {"test.parquet/4", "test/lost", "test/test-6"}
    assert "leads out" in reasons["test.parquet/4"]
    assert reasons["test/lost"] == reasons["test/test-6"] == "the file is empty"
    assert len(data) == 4


LABELS: dict[str, pa.Array] = {
    "words": pa.array(["Real", "FAKE", " real ", "fake"]),
    "numbers as text": pa.array(["0", "1", "0.0", "1"]),
    "dictionary": pa.array(["Real", "Fake", "Real", "Fake"]).dictionary_encode(),
    "booleans": pa.array([False, True, False, True]),
    "floats": pa.array([0.0, 1.0, 0.0, 1.0]),
    "lists of one": pa.array([[0], [1], [0], [1]]),
    "small integers": pa.array([0, 1, 0, 1], pa.uint8()),
    "large text": pa.array(["real", "fake", "real", "fake"], pa.large_string()),
}


def labelled(path: Path, labels: pa.Array, **more: pa.Array) -> Path:
    rows = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(len(labels))]
    pq.write_table(pa.table({"image": rows, "label": labels, **more}), path)
    return path


@pytest.mark.parametrize("kind", LABELS)
def test_labels_are_read_as_people_write_them(kind: str, tmp_path: Path) -> None:
    """Case B8."""
    data = load_data("folder", str(labelled(tmp_path / "test.parquet", LABELS[kind])))
    assert data.manifest["label"].tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    "labels",
    [
        pa.array([0, 1, -1, None]),
        pa.array([0.0, 1.0, float("nan"), None]),
        pa.array(["real", "fake", "", None]),
        pa.array([[0], [1], [], [0, 1]]),
    ],
)
def test_rows_without_a_label_are_listed(labels: pa.Array, tmp_path: Path) -> None:
    """Case B8."""
    path = labelled(tmp_path / "test.parquet", labels)
    data = load_data("folder", str(path), skipped=tmp_path / "skipped.csv")
    assert data.manifest["id"].tolist() == ["test/0", "test/1"]
    skipped = pd.read_csv(tmp_path / "skipped.csv")
    assert skipped["id"].tolist() == ["test.parquet/2", "test.parquet/3"]
    assert skipped["reason"].str.startswith("no label: ").all()


def test_labels_that_the_recipe_does_not_know_are_refused(tmp_path: Path) -> None:
    for labels in (
        pa.array([0, 1, 2]),
        pa.array(["real", "fake", "cat"]),
        pa.array([0.0, 1.0, 0.5]),
    ):
        with pytest.raises(DataError, match=r"row 2 has label .*Expected one of real, fake, 0, 1"):
            load_data("folder", str(labelled(tmp_path / "test.parquet", labels)))


@pytest.mark.parametrize("above", ["/home/someone/set", "C:\\set", "\\\\server\\set"])
def test_an_absolute_path_beside_the_bytes_gives_its_last_name_and_is_not_opened(
    above: str, tmp_path: Path
) -> None:
    """Case B8."""
    mark = "/" if "/" in above else "\\"
    rows = [
        {"bytes": picture(i), "path": f"{above}{mark}{i % 2}{mark}{i // 2}.png"} for i in range(4)
    ]
    pq.write_table(pa.table({"image": rows, "label": [0, 1, 0, 1]}), tmp_path / "test.parquet")
    data = load_data("folder", str(tmp_path / "test.parquet"))
    assert data.manifest["id"].tolist() == ["test/0", "test/0~1", "test/1", "test/1~1"]
    assert list(data.contents()) == [picture(i) for i in range(4)]


@pytest.mark.parametrize("path", ["", ".", "./", None])
def test_a_path_that_names_nothing_gives_the_number_of_the_row(
    path: str | None, tmp_path: Path
) -> None:
    rows = [{"bytes": picture(i), "path": path} for i in range(2)]
    pq.write_table(pa.table({"image": rows, "label": [0, 1]}), tmp_path / "test.parquet")
    assert load_data("folder", str(tmp_path)).manifest["id"].tolist() == [
        "test/test-0",
        "test/test-1",
    ]


def test_plain_bytes_and_a_column_called_img_are_read(tmp_path: Path) -> None:
    pictures = [picture(i) for i in range(4)]
    tables = {
        "bytes": {"image": pictures, "label": [0, 1, 0, 1]},
        "img": {"img": [{"bytes": content} for content in pictures], "labels": [0, 1, 0, 1]},
    }
    for name, columns in tables.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table(columns), path, row_group_size=3)
        data = load_data("folder", str(path))
        assert list(data.contents()) == pictures
        assert data.manifest["id"].tolist() == [f"{name}-{i}" for i in range(4)]


def damaged(path: Path, column: str) -> Path:
    """A Parquet file of three row groups; the bytes of one column of the second are overwritten."""
    rows = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(12)]
    table = pa.table({"image": rows, "label": [i % 2 for i in range(12)]})
    pq.write_table(table, path, row_group_size=4, compression="zstd")
    group = pq.ParquetFile(path).metadata.row_group(1)
    place = next(
        c for c in map(group.column, range(group.num_columns)) if c.path_in_schema == column
    )
    content = bytearray(path.read_bytes())
    start = place.dictionary_page_offset or place.data_page_offset
    content[start : start + place.total_compressed_size] = b"\xff" * place.total_compressed_size
    path.write_bytes(content)
    return path


def test_a_parquet_file_damaged_inside_costs_its_own_images_only(tmp_path: Path) -> None:
    path = damaged(tmp_path / "test.parquet", "image.bytes")
    data = load_data("folder", str(path), skipped=tmp_path / "skipped.csv")
    assert data.manifest["id"].tolist() == [f"test/{i}" for i in (0, 1, 2, 3, 8, 9, 10, 11)]
    assert pd.read_csv(tmp_path / "skipped.csv")["reason"].str.startswith("cannot be read").all()


def test_a_parquet_row_group_whose_labels_are_damaged_is_listed(tmp_path: Path) -> None:
    path = damaged(tmp_path / "test.parquet", "label")
    data = load_data("folder", str(path), skipped=tmp_path / "skipped.csv")
    assert data.manifest["id"].tolist() == [f"test/{i}" for i in (0, 1, 2, 3, 8, 9, 10, 11)]
    assert data.manifest["row"].tolist() == [0, 1, 2, 3, 8, 9, 10, 11]
    assert pd.read_csv(tmp_path / "skipped.csv")["id"].tolist() == ["test.parquet/row group 1"]
