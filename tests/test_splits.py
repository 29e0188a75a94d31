"""Splits by name: known names are mapped, whatever else stands where splits stand is rejected. Case
A10.
"""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustbench_aigi.data import load_data
from robustbench_aigi.data.sources.splits import SPLIT_NAMES, likely_split
from robustbench_aigi.errors import DataError
from tests.test_data import picture
from tests.test_sources import files, own, seen, shard

BOTH_CLASSES = ("REAL", "FAKE")


def beside(root: Path, *splits: str) -> Path:
    return files(root, *(f"{split}/{kind}" for split in splits for kind in BOTH_CLASSES), count=2)


def table(path: Path, **columns: list[object]) -> Path:
    """Four labelled images in a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(4)]
    pq.write_table(pa.table({"image": rows, "label": [0, 1, 0, 1], **columns}), path)
    return path


def splits_of(source: Path, recipe: str = "folder") -> set[str]:
    return set(load_data(recipe, str(source)).manifest["split"])


@pytest.mark.parametrize(
    ("name", "split"), [*SPLIT_NAMES.items(), ("DEV", "validation"), ("Testing", "test")]
)
def test_known_names_of_splits_are_mapped(name: str, split: str, tmp_path: Path) -> None:
    recipe = own(tmp_path, validation_share="0")
    assert splits_of(beside(tmp_path / "set", name), recipe) == {split}
    assert splits_of(table(tmp_path / "tables" / f"{name}-00000-of-00001.parquet"), recipe) == {
        split
    }


def test_a_dev_folder_is_no_generator_of_the_test_split(tmp_path: Path) -> None:
    data = load_data("cifake", str(beside(tmp_path, "train", "test", "dev")))
    assert data.manifest.groupby("split").size().to_dict() == {
        "test": 4,
        "train": 4,
        "validation": 4,
    }
    assert set(data.manifest["generator"]) == {"camera", "stable-diffusion-1.4"}


@pytest.mark.parametrize("above", ["", "archive/", "Midjourney/imagenet/"])
def test_an_unknown_folder_beside_splits_is_refused_with_what_to_write(
    above: str, tmp_path: Path
) -> None:
    root = beside(tmp_path / "set", f"{above}train", f"{above}test", f"{above}extra")
    with pytest.raises(
        DataError, match=r'splits test, train and beside them the folders extra.*"extra" = "\.\.\."'
    ):
        load_data("folder", str(root))
    splits = '{ train = "train", test = "test", extra = "validation" }'
    assert splits_of(root, own(tmp_path, splits=splits)) == {"train", "test", "validation"}


def test_what_holds_no_classes_beside_splits_is_left_out_as_ever(tmp_path: Path) -> None:
    root = files(beside(tmp_path, "train", "test"), "samples", "docs/pictures")
    assert splits_of(root) == {"train", "test", "validation"}


def test_two_names_of_one_split_side_by_side_are_refused(tmp_path: Path) -> None:
    root = beside(tmp_path / "set", "train", "val", "dev", "test")
    with pytest.raises(
        DataError, match="has dev and val, which would both be read as the validation split"
    ):
        load_data("folder", str(root))
    splits = '{ train = "train", val = "validation", dev = "validation", test = "test" }'
    assert splits_of(root, own(tmp_path, splits=splits)) == {"train", "test", "validation"}
    for name in ("eval", "test"):
        table(tmp_path / "tables" / f"{name}.parquet")
    with pytest.raises(DataError, match="eval and test"):
        load_data("folder", str(tmp_path / "tables"))


def test_names_like_splits_are_not_tested_on_in_silence(tmp_path: Path) -> None:
    root = beside(tmp_path / "set", "train_images", "test_images")
    with pytest.raises(
        DataError, match="has the folders test_images, train_images, which hold classes"
    ):
        load_data("folder", str(root))
    splits = '{ train_images = "train", test_images = "test" }'
    assert splits_of(root, own(tmp_path, splits=splits)) == {"train", "test", "validation"}
    assert splits_of(beside(tmp_path / "tested", "progan_test", "biggan_test")) == {"test"}
    assert likely_split(SPLIT_NAMES, "flux-dev") is None


@pytest.mark.parametrize("folder", ["train/dev", "dev"])
def test_a_generator_may_be_called_dev_if_the_recipe_says_so(folder: str, tmp_path: Path) -> None:
    first, *_ = folder.split("/")
    root = beside(tmp_path / "set", folder, f"{first}/adm" if "/" in folder else "adm")
    if "/" in folder:
        with pytest.raises(
            DataError, match=r'dev would be read as no split.*generators = \{ "dev" = "dev" \}'
        ):
            load_data("folder", str(root))
    named = load_data(own(tmp_path, generators='{ dev = "dev" }', validation_share="0"), str(root))
    assert {generator for _, label, _, generator, _ in seen(named) if label} == {"dev", "adm"}
    listed = load_data(own(tmp_path, splits='{ train = "train", test = "test" }'), str(root))
    assert {generator for _, label, _, generator, _ in seen(listed) if label} == {"dev", "adm"}


@pytest.mark.parametrize(
    "folders", [("real/train", "fake/train", "real/test", "fake/test"), ("fake/sd/test", "real")]
)
def test_splits_below_the_classes_are_refused(folders: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"would be read as no split.*Put the folders of splits first"
    ):
        load_data("folder", str(files(tmp_path, *folders)))


def test_images_without_a_split_beside_others_are_refused(tmp_path: Path) -> None:
    root = files(beside(tmp_path / "set", "train"), "REAL", "FAKE", count=1)
    with pytest.raises(
        DataError, match=r"2 of 6 images have no split, and the others are in train"
    ):
        load_data("folder", str(root))
    table(tmp_path / "tables" / "train.parquet")
    table(tmp_path / "tables" / "extra.parquet")
    with pytest.raises(DataError, match=r"4 of 8 images have no split.*extra\.parquet"):
        load_data("folder", str(tmp_path / "tables"))
    named = own(tmp_path, splits='{ train = "train", extra = "test" }')
    assert splits_of(tmp_path / "tables", named) == {"train", "test", "validation"}


def test_a_file_name_with_two_splits_is_refused(tmp_path: Path) -> None:
    path = table(tmp_path / "train-test.parquet")
    with pytest.raises(DataError, match="names of several splits: train, test"):
        load_data("folder", str(path))
    assert splits_of(path, own(tmp_path, splits='{ "train-test" = "test" }')) == {"test"}


def test_words_that_only_look_like_splits_name_none(tmp_path: Path) -> None:
    assert splits_of(table(tmp_path / "dev" / "all.parquet")) == {"test"}  # a place on a disk
    assert splits_of(table(tmp_path / "flux-dev.parquet")) == {"test"}
    assert splits_of(table(tmp_path / "deep" / "val" / "more" / "x.parquet").parents[2]) == {
        "validation"
    }


@pytest.mark.parametrize("form", ["parquet", "csv", "tar"])
def test_unknown_splits_of_columns_are_refused(form: str, tmp_path: Path) -> None:
    splits = ["train", "dev", "extra", "test"]
    if form == "parquet":
        source = table(tmp_path / "x.parquet", split=[*splits])
    elif form == "csv":
        source = files(tmp_path / "set", "a", count=4)
        lines = [f"a/{i}.png,{i % 2},{split}" for i, split in enumerate(splits)]
        (source / "metadata.csv").write_text("\n".join(["file_name,label,split", *lines]))
    else:
        about = [
            json.dumps({"label": i % 2, "split": split}).encode() for i, split in enumerate(splits)
        ]
        source = shard(
            tmp_path / "x.tar",
            *[m for i in range(4) for m in ((f"{i}.json", about[i]), (f"{i}.png", picture(i)))],
        )
    with pytest.raises(
        DataError, match=r"has the split 'extra', which the recipe does not know\. Known: train"
    ):
        load_data("folder", str(source))
