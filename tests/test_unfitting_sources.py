"""Sources that do not fit their recipe: what was found, and which recipe reads them."""

import json
import shlex
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustbench_aigi.data import load_data
from robustbench_aigi.errors import DataError
from tests.test_data import picture
from tests.test_sources import files, own


@pytest.mark.parametrize("layout", ["classes", "genimage", "forensynths", "raid", "folder"])
def test_an_unfitting_folder_says_what_was_found_and_expected(tmp_path: Path, layout: str) -> None:
    files(tmp_path, "stuff/cats")
    with pytest.raises(
        DataError, match=r"Found images in: stuff/cats\. Expected .*\{class\}.*real, fake"
    ):
        load_data(own(tmp_path, layout=f'"{layout}"'), str(tmp_path))


def test_other_unfitting_sources_are_explained(tmp_path: Path) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="Unpack an archive first"):
        load_data("folder", str(tmp_path / "data.zip"))
    with pytest.raises(DataError, match=r"holds no \.tar file"):
        load_data(own(tmp_path, layout='"webdataset"'), str(tmp_path))
    (tmp_path / "x.tar").write_bytes(b"no archive" * 100)
    with pytest.raises(DataError, match="is no readable tar archive"):
        load_data("folder", str(tmp_path / "x.tar"))
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(DataError, match="no readable Parquet file"):
        load_data("folder", str(tmp_path / "x.parquet"))
    pq.write_table(pa.table({"image": [b"x"], "label": [0]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="Expected a struct of bytes and path"):
        load_data("folder", str(tmp_path / "x.parquet"))
    files(tmp_path / "one", "real", "fakes")
    with pytest.raises(
        DataError,
        match=r"one class only, 3 skipped; the first: fakes/0\.png: not in a folder of the la",
    ):
        load_data("folder", str(tmp_path / "one"))


CLASS_FOLDERS = {
    "genimage": ["train/ai", "train/nature", "val/ai", "val/nature"],
    "forensynths": ["0_real", "1_fake"],
    "tiny-genimage": ["ai", "nature"],
    "raid": ["original/gen_1", "original/real", "epsilon8/gen_1", "epsilon8/real"],
}


@pytest.mark.parametrize("name", CLASS_FOLDERS)
def test_class_folders_of_another_recipe_name_it(name: str, tmp_path: Path) -> None:
    """Case B13: the words in the message work when typed."""
    root = files(tmp_path / "my set", *CLASS_FOLDERS[name])
    own_recipe = own(tmp_path, layout='"classes"')
    with pytest.raises(
        DataError, match=f"recipe {name} reads these folders: `--data {name} --source "
    ) as caught:
        load_data("folder" if name != "raid" else own_recipe, str(root))
    words = shlex.split(str(caught.value).split("`")[1])
    assert words == ["--data", name, "--source", str(root)]
    assert len(load_data(words[1], words[3], "test")) > 0


@pytest.mark.parametrize("named", [True, False])
def test_class_names_in_a_table_name_the_recipe_that_reads_them(
    named: bool, tmp_path: Path
) -> None:
    rows = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(4)]
    table = pa.table(
        {"image": rows, "label": [0, 1, 0, 1] if named else ["nature", "ai", "nature", "ai"]}
    )
    if named:
        info = {"info": {"features": {"label": {"names": ["nature", "ai"]}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(info)})
    pq.write_table(table, tmp_path / "test.parquet")
    with pytest.raises(
        DataError, match="The recipe tiny-genimage reads these classes: `--data tiny-genimage"
    ):
        load_data("folder", str(tmp_path))
    assert load_data("tiny-genimage", str(tmp_path)).manifest["label"].tolist() == [0, 1, 0, 1]
