import io
import re
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustbench_aigi import catalogue
from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.errors import DataError
from tests.conftest import SHARED
from tests.test_data import picture

PHOTO_FOLDER = SHARED / "photos256"


def files(root: Path, *folders: str, count: int = 3, names: tuple[str, ...] = ()) -> Path:
    """Different images ``0.png`` ... in each folder."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in names or [f"{i}.png" for i in range(count)]:
            seed = zlib.crc32(f"{folder}/{name}".encode())
            (root / folder / name).write_bytes(picture(seed, size=(8, 8)))
    return root


def own(place: Path, name: str = "folder", **more: str) -> str:
    """A recipe of one's own: a shipped one with other lines on top."""
    text = (catalogue.folder("datasets") / f"{name}.toml").read_text()
    (place / "own.toml").write_text(
        "\n".join(f"{key} = {value}" for key, value in more.items()) + "\n" + text
    )
    return str(place / "own.toml")


def shard(path: Path, *members: tuple[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def seen(data: Dataset) -> set[tuple[str, int, str, str, str]]:
    rows = data.manifest
    return set(
        zip(
            rows["id"],
            rows["label"],
            rows["split"],
            rows["generator"],
            rows["category"],
            strict=True,
        )
    )


def test_genimage_folders_name_generators_and_test_on_val(tmp_path: Path) -> None:
    kinds = [f"{split}/{kind}" for split in ("train", "val") for kind in ("ai", "nature")]
    files(
        tmp_path,
        *(f"Midjourney/imagenet_midjourney/{k}" for k in kinds),
        *(f"ADM/{k}" for k in kinds),
        count=4,
    )
    data = load_data("genimage", str(tmp_path))
    found = seen(data)
    assert ("Midjourney/imagenet_midjourney/val/ai/0", 1, "test", "midjourney", "") in found
    assert ("ADM/val/ai/1", 1, "test", "adm", "") in found
    assert ("ADM/val/nature/1", 0, "test", "camera", "") in found
    assert {split for _, _, split, *_ in found} == {"train", "validation", "test"}
    rows = data.manifest[data.manifest["split"] != "test"]
    assert rows.groupby("parent")["split"].nunique().eq(1).all()
    assert (
        rows.loc[rows["label"] == 0, "parent"].value_counts().eq(2).all()
    )  # one ImageNet name, two generators


def test_tiny_genimage_is_told_by_looking_and_one_generator_will_do(tmp_path: Path) -> None:
    kinds = [f"{split}/{kind}" for split in ("train", "val") for kind in ("ai", "nature")]
    files(tmp_path, *(f"imagenet_glide/{k}" for k in kinds))
    data = load_data("tiny-genimage", str(tmp_path), "test")
    assert set(data.manifest["generator"]) == {"glide", "camera"}
    assert len(load_data("tiny-genimage", str(tmp_path / "imagenet_glide"), "test")) == len(data)


@pytest.mark.parametrize("above", ["", "test/"])
def test_forensynths_folders_nest_to_any_depth(tmp_path: Path, above: str) -> None:
    nested = ("", "biggan/", "progan/car/", "progan/cat/")
    files(tmp_path, *(f"{above}{g}{k}" for g in nested for k in ("0_real", "1_fake")))
    found = seen(load_data("forensynths", str(tmp_path)))
    assert len(found) == 24
    assert (f"{above}1_fake/0", 1, "test", "unknown", "") in found
    assert (f"{above}biggan/1_fake/0", 1, "test", "biggan", "") in found
    assert (f"{above}progan/car/1_fake/2", 1, "test", "progan", "car") in found
    assert (f"{above}progan/cat/0_real/2", 0, "test", "camera", "cat") in found


def test_raid_keeps_an_image_and_its_adversarial_copies_together(tmp_path: Path) -> None:
    files(
        tmp_path,
        *(
            f"{e}/{k}"
            for e in ("original", "epsilon8", "epsilon32")
            for k in ("real", "gen_0", "gen_12")
        ),
    )
    data = load_data("raid", str(tmp_path))
    found = seen(data)
    assert ("epsilon8/gen_12/0", 1, "test", "gen_12", "epsilon8") in found
    assert ("original/real/1", 0, "test", "camera", "original") in found
    assert len(found) == 27
    assert data.manifest["parent"].value_counts().eq(3).all()


def test_own_folders_are_the_test_split_unless_shares_are_drawn(tmp_path: Path) -> None:
    root = files(tmp_path / "images", "real", "real/phone", "fake/flux", "fake/dalle/v3", count=10)
    whole = load_data("folder", str(root))
    assert set(whole.manifest["split"]) == {"test"}
    assert ("fake/dalle/v3/7", 1, "test", "dalle", "") in seen(whole)
    assert ("real/phone/7", 0, "test", "phone", "") in seen(whole)
    assert ("real/7", 0, "test", "camera", "") in seen(whole)
    with pytest.raises(DataError, match=r"no 'train' split here, only test.*shares = "):
        load_data("folder", str(root), "train")
    recipe = own(tmp_path, shares="{ train = 0.5, validation = 0.2 }")
    drawn = load_data(recipe, str(root)).manifest
    sizes = drawn.groupby(["split", "label"]).size()
    assert sizes.to_dict() == {
        (s, k): n for s, n in (("train", 10), ("validation", 4), ("test", 6)) for k in (0, 1)
    }
    pd.testing.assert_frame_equal(drawn, load_data(recipe, str(root)).manifest)


def test_parents_stay_on_one_side_when_splits_are_drawn(tmp_path: Path) -> None:
    rows = [{"bytes": picture(i), "path": f"{i}.png"} for i in range(40)]
    parents = [f"p{i // 4}" for i in range(40)]
    table = pa.table(
        {
            "image": rows,
            "label": [i % 2 for i in range(40)],
            "parent": parents,
            "generator": ["x"] * 40,
        }
    )
    pq.write_table(table, tmp_path / "all.parquet", row_group_size=7)
    data = load_data(
        own(tmp_path, shares="{ train = 0.5, validation = 0.2 }"), str(tmp_path / "all.parquet")
    )
    assert data.manifest["split"].value_counts().to_dict() == {
        "train": 20,
        "validation": 8,
        "test": 12,
    }
    assert data.manifest.groupby("parent")["split"].nunique().eq(1).all()
    assert set(data.manifest["generator"]) == {"x"}


def test_two_files_of_one_stem_have_two_ids(tmp_path: Path) -> None:
    files(tmp_path, "real", "fake", names=("a.png", "a.jpg"))
    assert load_data("folder", str(tmp_path)).manifest["id"].is_unique


@pytest.mark.parametrize("above", ["archive", "my set/archive"])
@pytest.mark.parametrize("recipe", ["folder", "cifake"])
def test_a_folder_above_all_others_is_looked_through(
    above: str, recipe: str, tmp_path: Path
) -> None:
    """Case B12: what an unpacked archive has on top is no generator."""
    files(
        tmp_path,
        *(f"{above}/{split}/{kind}" for split in ("train", "test") for kind in ("REAL", "Fake")),
    )
    data = load_data(recipe, str(tmp_path))
    assert set(data.manifest["split"]) == {"train", "validation", "test"}
    known = "unknown" if recipe == "folder" else "stable-diffusion-1.4"
    assert set(data.manifest["generator"]) == {"camera", known}
    assert f"{above}/test/Fake/0" in set(data.manifest["id"])
    (tmp_path / "cover.png").write_bytes(picture(1))
    files(tmp_path, "docs/pictures")
    assert load_data(recipe, str(tmp_path)).key == data.key


def test_what_a_recipe_knows_as_a_generator_is_not_looked_through(tmp_path: Path) -> None:
    files(tmp_path / "a", "archive/biggan/0_real", "archive/biggan/1_fake")
    assert set(load_data("forensynths", str(tmp_path / "a")).manifest["generator"]) == {
        "camera",
        "biggan",
    }
    files(tmp_path / "b", "progan/car/0_real", "progan/car/1_fake")
    assert ("progan/car/1_fake/0", 1, "test", "progan", "car") in seen(
        load_data("forensynths", str(tmp_path / "b"))
    )
    named = own(tmp_path, generators='{ flux = "flux-1" }')
    files(tmp_path / "c", "flux/real", "flux/fake")
    assert set(load_data(named, str(tmp_path / "c")).manifest["generator"]) == {"camera", "flux-1"}


@pytest.mark.parametrize("fake", ["Fake", "FAKE", "fake"])
def test_a_class_is_no_generator_however_it_is_written(fake: str, tmp_path: Path) -> None:
    """Case B12."""
    files(tmp_path, "Real", fake)
    assert set(load_data("folder", str(tmp_path)).manifest["generator"]) == {"camera", "unknown"}


def test_generators_below_splits_and_classes_are_read(tmp_path: Path) -> None:
    files(
        tmp_path, "train/real", "train/fake/flux", "test/real", "test/fake/flux", "test/fake/sd/v3"
    )
    found = load_data("folder", str(tmp_path)).manifest
    assert set(found.loc[found["label"] == 1, "generator"]) == {"flux", "sd"}


@pytest.mark.skipif(
    not PHOTO_FOLDER.is_dir(), reason="needs photographs in ../shared/data/photos256"
)
def test_photographs_of_real_size_are_read_by_folder(tmp_path: Path) -> None:
    data = load_data(
        own(tmp_path, shares="{ train = 0.5, validation = 0.1 }"),
        str(PHOTO_FOLDER),
        skipped=tmp_path / "s.csv",
    )
    listed = pd.read_csv(PHOTO_FOLDER / "manifest.csv").assign(
        id=lambda t: t["file"].str.removesuffix(".png")
    )
    rows = data.manifest.set_index("id").loc[listed["id"]]
    assert (rows["sha256"].to_numpy() == listed["sha256"].to_numpy()).all()
    assert (rows["label"].to_numpy() == listed["id"].str.startswith("fake/").to_numpy()).all()
    assert (rows["generator"].to_numpy() == listed["id"].str.split("/").str[1].to_numpy()).all()
    assert len(data) == len(listed)
    assert pd.read_csv(tmp_path / "s.csv").empty
    batch = next(data.split("validation").batches(4))
    assert batch.images.shape == (4, 3, 256, 256)
    assert np.isfinite(batch.images.numpy()).all()
    assert re.match(r"(real|fake)/", batch.ids[0])
