import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.json as paj
import pyarrow.parquet as pq
import pytest

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import load_data
from robustbench_aigi.data.decoding import decode
from robustbench_aigi.data.exporters import ExportFormat, export, export_formats
from robustbench_aigi.data.plusplus.build import build_plusplus
from robustbench_aigi.data.plusplus.jsonl import write_jsonl
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.data.plusplus.reader import BuiltDataset
from robustbench_aigi.errors import DataError
from robustbench_aigi.executors import InProcessExecutor
from robustbench_aigi.progress import Progress, silent
from tests.built_set import TINY_SUITE, contents, make
from tests.test_data import folder, picture

BASE_RECIPE = 'name = "r"\nversion = 1\nlicence = "test"\nkind = "labelled"\n'
RAID_RECIPE = BASE_RECIPE + '[labels]\nreal = 0\n"gen_*" = 1\n'
OWN_RECIPE = BASE_RECIPE + "[numbers]\n0 = 0\n1 = 1\n"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("set"))


@pytest.fixture(scope="module")
def manifest(built: Path) -> pd.DataFrame:
    return pd.read_parquet(built / "manifest.parquet")


def held(rows: pd.DataFrame) -> list[tuple[object, ...]]:
    return sorted(rows[["split", "label", "sha256"]].itertuples(index=False, name=None))


def records(lines: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.read_text(encoding="utf-8").split("\n")[:-1]]


def same(again: pd.DataFrame, manifest: pd.DataFrame) -> None:
    kinds = manifest.dtypes.to_dict()
    pd.testing.assert_frame_equal(again.astype(kinds), manifest)


def read_again(source: Path, recipe: str = OWN_RECIPE) -> pd.DataFrame:
    path = source.parent / "recipe.toml"
    path.write_text(recipe)
    return load_data(str(path), str(source)).manifest


def test_image_folder_is_read_as_the_same_images(
    built: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    assert export(built, "imagefolder", tmp_path / "out") == (len(manifest), {})
    columns = ["sha256", "label", "split", "generator", "parent"]
    again = read_again(tmp_path / "out")
    same(*(table[columns].sort_values(columns, ignore_index=True) for table in (again, manifest)))
    for split, rows in manifest.groupby("split"):
        lines = records(tmp_path / "out" / str(split) / "metadata.jsonl")
        assert [list(line) for line in lines] == [["file_name", *manifest.columns]] * len(rows)
        for line in lines:
            content = (tmp_path / "out" / str(split) / line["file_name"]).read_bytes()
            assert hashlib.sha256(content).hexdigest() == line["sha256"]
            assert line["file_name"].split("/")[:2] == [
                ("REAL", "FAKE")[line["label"]],
                line["attack"],
            ]
        assert sorted(line["id"] for line in lines) == sorted(rows["id"])


@pytest.mark.parametrize("exported", [True, False])
def test_metadata_tells_its_types_at_once(built: Path, tmp_path: Path, exported: bool) -> None:
    """Readers take the types from the beginning of each file, and all files must agree."""
    shutil.copytree(built, tmp_path / "built")
    write_jsonl(tmp_path / "built")
    if exported:
        export(built, "imagefolder", tmp_path / "out")
    files = sorted((tmp_path / ("out" if exported else "built")).glob("*/metadata.jsonl"))
    beginnings = [
        paj.read_json(io.BytesIO(path.read_bytes().split(b"\n")[0])).schema for path in files
    ]
    assert len(files) == 3
    assert beginnings[0] == beginnings[1] == beginnings[2]
    assert "null" not in {str(kind) for kind in beginnings[0].types}
    for path in files:
        assert paj.read_json(path).schema.equals(beginnings[0])
        assert all((path.parent / record["file_name"]).is_file() for record in records(path))


def test_parquet_is_read_as_the_same_images(
    built: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    export(built, "parquet", tmp_path / "out", shard_bytes=100_000)
    files = sorted((tmp_path / "out" / "data").iterdir())
    trains = [path.name for path in files if path.name.startswith("train")]
    assert len(trains) > 1
    assert trains == [f"train-{i:05d}-of-{len(trains):05d}.parquet" for i in range(len(trains))]
    tables = [pq.read_table(path).to_pandas() for path in files]
    again = pd.concat(tables).set_index("id").loc[manifest["id"]].reset_index()
    same(again[manifest.columns], manifest)
    stored = [hashlib.sha256(image["bytes"]).hexdigest() for image in again["image"]]
    assert stored == manifest["sha256"].tolist()
    assert held(read_again(tmp_path / "out")) == held(manifest)
    features = json.loads(pq.read_schema(files[0]).metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"}
    assert features["label"] == {"names": ["REAL", "FAKE"], "_type": "ClassLabel"}
    assert features["l2"] == {"dtype": "float64", "_type": "Value"}
    assert features["id"] == {"dtype": "string", "_type": "Value"}
    assert set(features) == {"image", *manifest.columns}


def test_webdataset_is_read_as_the_same_images(
    built: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    export(built, "webdataset", tmp_path / "out", shard_bytes=100_000)
    seen = []
    keys = []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with tarfile.open(path) as archive:
            members = archive.getmembers()
            for image, about in zip(members[::2], members[1::2], strict=True):
                key, suffix = image.name.split(".")
                assert (about.name, image.mtime, image.uid, image.uname) == (
                    f"{key}.json",
                    0,
                    0,
                    "",
                )
                assert suffix in ("png", "jpg")
                row = json.loads(archive.extractfile(about).read())  # type: ignore[union-attr]
                content = archive.extractfile(image).read()  # type: ignore[union-attr]
                assert hashlib.sha256(content).hexdigest() == row["sha256"]
                seen.append(row["id"])
                keys.append((row["split"], key))
    assert sorted(seen) == sorted(manifest["id"])
    assert len(set(keys)) == len(manifest)
    assert len(list((tmp_path / "out").glob("train-*.tar"))) > 1
    again = read_again(tmp_path / "out")
    assert held(again) == held(manifest)
    assert sorted(again["parent"]) == sorted(manifest["parent"])


def test_raid_layout_holds_clean_and_linf(
    built: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    done = export(built, "raid", tmp_path / "out")
    left = manifest[manifest["attack"].isin(["pgd-l2-1", "pgd-linf-8-again", "pixels", "jpeg-75"])]
    assert done.left_out == left["attack"].value_counts().to_dict()
    assert done.images == len(manifest) - len(left)
    names = json.loads((tmp_path / "out" / "generators.json").read_text())
    assert set(names.values()) == set(manifest.loc[manifest["label"] == 1, "generator"])
    root = tmp_path / "out" / "test"
    assert {p.name for p in root.iterdir()} == {"original", "epsilon8"}
    rows = manifest[
        (manifest["split"] == "test")
        & manifest["attack"].isin(["clean", "diffusion", "pgd-linf-8"])
    ]
    found = {
        hashlib.sha256(p.read_bytes()).hexdigest(): p.relative_to(root).parts
        for p in root.rglob("*.*")
    }
    for sha256, attack, label, generator in rows[
        ["sha256", "attack", "label", "generator"]
    ].itertuples(index=False):
        top, made_by, _ = found.pop(sha256)
        assert top == ("epsilon8" if attack == "pgd-linf-8" else "original")
        assert (names[made_by] == generator) if label else (made_by == "real")
    assert not found
    again = read_again(root, RAID_RECIPE)
    assert held(again) == held(rows)
    assert (again.groupby("parent").size() == 2).sum() == (rows["attack"] == "clean").sum()


def test_npz_holds_the_same_pixels(built: Path, manifest: pd.DataFrame, tmp_path: Path) -> None:
    export(built, "npz", tmp_path / "out")
    for split, rows in manifest.groupby("split"):
        with np.load(tmp_path / "out" / f"{split}.npz") as arrays:
            assert arrays["ids"].tolist() == rows["id"].tolist()
            assert arrays["labels"].tolist() == rows["label"].tolist()
            assert arrays["images"].dtype == np.uint8
            for path, image in zip(rows["path"], arrays["images"], strict=True):
                assert np.array_equal(
                    decode((built / path).read_bytes()).permute(1, 2, 0).numpy(), image
                )


def test_npz_refuses_mixed_sizes(tmp_path: Path) -> None:
    root = folder(tmp_path / "source", count=4)
    (root / "test" / "REAL" / "0001 (2).png").write_bytes(picture(1, size=(20, 28)))
    data = load_data("cifake", str(root))
    suite = Suite.model_validate(TINY_SUITE | {"attacks": TINY_SUITE["attacks"][-1:]})  # type: ignore[index]
    build_plusplus(
        {"test": Part(data.split("test"), True, 0)},
        suite,
        {},
        tmp_path / "built",
        silent,
        InProcessExecutor(1),
    )
    with pytest.raises(
        DataError, match=r"one image size, and test has .* Export it as imagefolder"
    ):
        export(tmp_path / "built", "npz", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert export(tmp_path / "built", "parquet", tmp_path / "out").images == 16


@pytest.mark.parametrize("form", export_formats.names())
def test_the_same_set_gives_the_same_bytes_and_is_not_written_twice(
    form: str, built: Path, tmp_path: Path
) -> None:
    first = export(built, form, tmp_path / "one", shard_bytes=100_000)
    export(built, form, tmp_path / "two", shard_bytes=100_000)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    times = {p: p.stat().st_mtime_ns for p in (tmp_path / "one").rglob("*")}
    assert export(built, form, tmp_path / "one", shard_bytes=100_000) == first
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "one").rglob("*")} == times


def test_jsonl_says_what_the_parquet_manifest_says(
    built: Path, manifest: pd.DataFrame, tmp_path: Path
) -> None:
    shutil.copytree(built, tmp_path / "built")
    write_jsonl(tmp_path / "built")
    again = pd.read_json(tmp_path / "built" / "manifest.jsonl", lines=True, dtype=False)
    same(again, manifest)
    assert len(BuiltDataset(built)) == len(again)


def test_a_format_is_added_by_registering_it(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ids(ExportFormat):
        """One file of ids."""

        def write(
            self, built: BuiltDataset, out: Path, progress: Progress, shard_bytes: int
        ) -> dict[str, int]:
            (out / "ids.txt").write_text("\n".join(row["id"] for row in built.rows()))
            return {}

    export_formats.names()
    monkeypatch.setitem(export_formats._classes, "ids", Ids)
    assert "ids" in export_formats.names()
    result = export(built, "ids", tmp_path / "out")
    assert len((tmp_path / "out" / "ids.txt").read_text().splitlines()) == result.images
