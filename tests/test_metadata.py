import json
from pathlib import Path

import pandas as pd
import pytest

from robustbench_aigi.data import load_data
from robustbench_aigi.errors import BadData
from tests.test_sources import files, own, seen

CSV = "file_name,label,generator,split\na/0.png,1,Midjourney,train\na/1.png,real,,train\na/2.png,FAKE,,\na/3.png,0,,\n"
ROWS: list[dict[str, object]] = [
    {"file_name": "a/0.png", "label": 1, "generator": "Midjourney", "split": "train"},
    {"label": "real", "file_name": "a/1.png", "generator": None, "split": "train"},
    {"file_name": "a/2.png", "label": "FAKE"},
    {"file_name": "a/3.png", "label": 0},
]
JSONL = "\n\n".join(map(json.dumps, ROWS))


@pytest.mark.parametrize(("table", "text"), [("metadata.csv", CSV), ("metadata.jsonl", JSONL)])
def test_a_table_beside_the_images_tells_their_labels(table: str, text: str, tmp_path: Path) -> None:
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
    assert skipped.to_dict() == {f"val/{name}.png": "not in metadata.jsonl or metadata.csv" for name in lost}


def test_a_table_leads_nowhere_else(tmp_path: Path) -> None:
    root = files(tmp_path / "set", "a")
    files(tmp_path, "b")
    (root / "a" / "link.png").symlink_to(tmp_path / "b" / "0.png")
    named = ["../../b/0.png", str(tmp_path / "b" / "0.png"), "link.png", "gone.png", "1.png", "0.png", "0.png", "2.png"]
    (root / "a" / "metadata.csv").write_text(
        "\n".join(["file_name,label", *(f"{n},{i % 2}" for i, n in enumerate(named))])
    )
    data = load_data("folder", str(root), skipped=tmp_path / "s.csv")
    assert sorted(data.manifest["id"]) == ["a/0", "a/1", "a/2"]
    reasons = pd.read_csv(tmp_path / "s.csv")["reason"].tolist()
    outside = "its name leads out of the dataset; rename it"
    assert sorted(reasons) == sorted(
        [outside, outside, "a link that leads out of the folder", "no image of this name is there", "described before"]
    )


def test_tables_that_do_not_fit_are_told(tmp_path: Path) -> None:
    root = files(tmp_path / "set", "real", "fake")
    (root / "metadata.csv").write_text("file_name,label\nreal/0.png,cat\nfake/0.png,dog\n")
    assert len(load_data("folder", str(root))) == 6
    metadata = own(tmp_path, layout='"metadata"')
    with pytest.raises(BadData, match=r"metadata\.csv row 1 has label 'cat'\. Expected one of real, fake, 0, 1"):
        load_data(metadata, str(root))
    (root / "metadata.csv").write_text("name,label\nreal/0.png,0\n")
    with pytest.raises(BadData, match=r"has no metadata\.jsonl or metadata\.csv with the columns file_name and label"):
        load_data(metadata, str(root))
    (root / "metadata.csv").unlink()
    (root / "metadata.jsonl").write_text('{"file_name": ')
    with pytest.raises(BadData, match=r"metadata\.jsonl cannot be read"):
        load_data("folder", str(root))
