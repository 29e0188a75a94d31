import json
from pathlib import Path

import pandas as pd
import pytest

from robustbench_aigi.data import load_data
from robustbench_aigi.errors import DataError
from tests.test_sources import files, own, seen

CSV_TABLE = (
    "file_name,label,generator,split\na/0.png,1,Midjourney,train\n"
    "a/1.png,real,,train\na/2.png,FAKE,,\na/3.png,0,,\n"
)
ROWS: list[dict[str, object]] = [
    {"file_name": "a/0.png", "label": 1, "generator": "Midjourney", "split": "train"},
    {"label": "real", "file_name": "a/1.png", "generator": None, "split": "train"},
    {"file_name": "a/2.png", "label": "FAKE"},
    {"file_name": "a/3.png", "label": 0},
]
JSONL_TABLE = "\n\n".join(map(json.dumps, ROWS))


@pytest.mark.parametrize(
    ("table", "text"), [("metadata.csv", CSV_TABLE), ("metadata.jsonl", JSONL_TABLE)]
)
def test_a_table_beside_the_images_tells_their_labels(
    table: str, text: str, tmp_path: Path
) -> None:
    files(tmp_path / "set" / "val", "a", "fake", count=5)
    (tmp_path / "set" / "val" / table).write_text(text)
    data = load_data("folder", str(tmp_path / "set"), skipped=tmp_path / "s.csv")
    assert seen(data) == {
        ("val/a/0", 1, "train", "Midjourney", ""),
        ("val/a/1", 0, "train", "camera", ""),
        ("val/a/2", 1, "validation", "unknown", ""),
        ("val/a/3", 0, "validation", "camera", ""),
    }
    skipped = pd.read_csv(tmp_path / "s.csv").set_index("id")["reason"]
    lost = ["a/4", *(f"fake/{i}" for i in range(5))]
    assert skipped.to_dict() == {
        f"val/{name}.png": "not in metadata.jsonl or metadata.csv" for name in lost
    }


SPREADSHEET_TABLE = (
    "File_Name;Label;Generator\na/0.png;1;Midjourney\na/1.png;Real;\na\\2.png;fake;\na/3.png;0;\n"
)
WRITTEN_TABLES = {
    "byte order mark": ("metadata.csv", SPREADSHEET_TABLE.replace(";", ",").encode("utf-8-sig")),
    "UTF-16": ("metadata.csv", SPREADSHEET_TABLE.replace(";", "\t").encode("utf-16")),
    "semicolons": ("metadata.csv", SPREADSHEET_TABLE.encode()),
    "a line on separators": ("Metadata.CSV", f"sep=;\n{SPREADSHEET_TABLE}".encode("utf-8-sig")),
    "tabs": ("metadata.tsv", SPREADSHEET_TABLE.replace(";", "\t").encode()),
    "spaces and lines of Windows": (
        "metadata.csv",
        SPREADSHEET_TABLE.replace(";", " ; ")
        .replace("File_Name", "File Name")
        .replace(".png ", ".png")
        .replace("\n", "\r\n")
        .encode(),
    ),
    "no underline": ("metadata.csv", SPREADSHEET_TABLE.replace("File_Name", "filename").encode()),
}


@pytest.mark.parametrize("kind", WRITTEN_TABLES)
def test_a_table_is_read_as_spreadsheets_write_it(kind: str, tmp_path: Path) -> None:
    """Case B9."""
    name, content = WRITTEN_TABLES[kind]
    (files(tmp_path, "a", count=4) / name).write_bytes(content)
    assert seen(load_data("folder", str(tmp_path))) == {
        ("a/0", 1, "test", "Midjourney", ""),
        ("a/1", 0, "test", "camera", ""),
        ("a/2", 1, "test", "unknown", ""),
        ("a/3", 0, "test", "camera", ""),
    }


UNREAD_TABLES = {
    "other columns": (
        b"name,kind\na/0.png,1\n",
        r"metadata\.csv has name, kind; expected the columns file_name and label",
    ),
    "other labels": (
        b"file_name,label\na/0.png,cat\n",
        r"metadata\.csv has the label 'cat'; expected one of real, fake",
    ),
    "other letters": (
        "file_name,label\ncaf\xe9.png,1\n".encode("latin-1"),
        r"metadata\.csv cannot be read .*in UTF-8",
    ),
    "nothing": (b"", r"metadata\.csv has no columns and rows"),
}


@pytest.mark.parametrize("kind", UNREAD_TABLES)
def test_a_table_that_cannot_be_read_is_named(kind: str, tmp_path: Path) -> None:
    """Case B9."""
    content, reason = UNREAD_TABLES[kind]
    (files(tmp_path, "a") / "metadata.csv").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        load_data("folder", str(tmp_path))


def test_a_table_of_another_name_is_mentioned(tmp_path: Path) -> None:
    (files(tmp_path, "a") / "labels.csv").write_text(CSV_TABLE)
    with pytest.raises(
        DataError,
        match=r"There are tables \(\*\.csv\): one of labels is read if it is metadata\.csv",
    ):
        load_data("folder", str(tmp_path))


def test_rows_without_a_label_are_listed(tmp_path: Path) -> None:
    """Case B8."""
    lines = ["file_name,label", "a/0.png,", "a/1.png,-1", "a/2.png,1.0", "a/3.png,0", "a/4.png,N/A"]
    (files(tmp_path, "a", count=5) / "metadata.csv").write_text("\n".join(lines))
    data = load_data("folder", str(tmp_path), skipped=tmp_path / "s.csv")
    assert sorted(zip(data.manifest["id"], data.manifest["label"], strict=True)) == [
        ("a/2", 1),
        ("a/3", 0),
    ]
    assert pd.read_csv(tmp_path / "s.csv")["id"].tolist() == ["a/0.png", "a/1.png", "a/4.png"]


def test_a_table_leads_nowhere_else(tmp_path: Path) -> None:
    root = files(tmp_path / "set", "a")
    files(tmp_path, "b")
    (root / "a" / "link.png").symlink_to(tmp_path / "b" / "0.png")
    named = [
        "../../b/0.png",
        str(tmp_path / "b" / "0.png"),
        "link.png",
        "gone.png",
        "1.png",
        "0.png",
        "0.png",
        "2.png",
    ]
    (root / "a" / "metadata.csv").write_text(
        "\n".join(["file_name,label", *(f"{n},{i % 2}" for i, n in enumerate(named))])
    )
    data = load_data("folder", str(root), skipped=tmp_path / "s.csv")
    assert sorted(data.manifest["id"]) == ["a/0", "a/1", "a/2"]
    reasons = pd.read_csv(tmp_path / "s.csv")["reason"].tolist()
    outside = "its name leads out of the dataset; rename it"
    assert sorted(reasons) == sorted(
        [
            outside,
            outside,
            "a link that leads out of the folder",
            "no image of this name is there",
            "described before",
        ]
    )


def test_tables_that_do_not_fit_are_told(tmp_path: Path) -> None:
    root = files(tmp_path / "set", "real", "fake")
    (root / "metadata.csv").write_text("file_name,label\nreal/0.png,cat\nfake/0.png,dog\n")
    assert len(load_data("folder", str(root))) == 6
    metadata = own(tmp_path, layout='"metadata"')
    with pytest.raises(
        DataError, match=r"metadata\.csv row 1 has label 'cat'\. Expected one of real, fake, 0, 1"
    ):
        load_data(metadata, str(root))
    (root / "metadata.csv").write_text("name,label\nreal/0.png,0\n")
    with pytest.raises(
        DataError,
        match=r"has no metadata\.jsonl or metadata\.csv with the columns file_name and label",
    ):
        load_data(metadata, str(root))
    (root / "metadata.csv").unlink()
    (root / "metadata.jsonl").write_text('{"file_name": ')
    with pytest.raises(DataError, match=r"metadata\.jsonl cannot be read"):
        load_data("folder", str(root))
