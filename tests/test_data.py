import io
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from robustbench_aigi.data import load_data
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.decoding import ImageError, decode, encode_png
from robustbench_aigi.data.rows import choose
from robustbench_aigi.errors import DataError, UnavailableError, UnknownNameError
from tests.conftest import CIFAKE, needs_cifake


def picture(
    seed: int, mode: str = "RGB", kind: str = "PNG", size: tuple[int, int] = (32, 32)
) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format=kind)
    return file.getvalue()


def folder(root: Path, count: int = 6) -> Path:
    for split in ("train", "test"):
        for number, name in enumerate(("REAL", "FAKE")):
            place = root / split / name
            place.mkdir(parents=True)
            for i in range(count):
                seed = 1000 * number + i + (500 if split == "test" else 0)
                (place / f"{i:04d} ({i % 10 + 1}).png").write_bytes(picture(seed))
    return root


def parquet(root: Path, target: Path, named: bool) -> Path:
    """The same images as Hugging Face writes them, FAKE = 0."""
    target.mkdir()
    for split in ("train", "test"):
        files = sorted((root / split).rglob("*.png"))
        rows = [{"bytes": f.read_bytes(), "path": f"{f.parent.name}/{f.name}"} for f in files]
        table = pa.table(
            {"image": rows, "label": [0 if f.parent.name == "FAKE" else 1 for f in files]}
        )
        if named:
            info = (
                '{"info": {"features": {"label": {"names": ["FAKE", "REAL"], "_type":'
                ' "ClassLabel"}}}}'
            )
            table = table.replace_schema_metadata({"huggingface": info})
        pq.write_table(table, target / f"{split}-00000-of-00001.parquet", row_group_size=5)
    return target


@pytest.mark.parametrize("named", [False, True])
def test_folder_and_parquet_hold_the_same_dataset(tmp_path: Path, named: bool) -> None:
    root = folder(tmp_path / "folder", count=40)
    first = load_data("cifake", str(root))
    second = load_data("cifake", str(parquet(root, tmp_path / "parquet", named)))
    columns = ["id", "label", "split", "category", "sha256"]
    a, b = (d.manifest[columns].sort_values("id").reset_index(drop=True) for d in (first, second))
    pd.testing.assert_frame_equal(a, b)
    assert set(a["split"]) >= {"train", "test"}
    assert (a["label"] == a["id"].str.contains("/FAKE/").astype(int)).all()
    assert a.loc[a["id"].str.endswith("(4)"), "category"].eq("cat").all()
    one, two = (
        {i: x for batch in d.split("test") for i, x in zip(batch.ids, batch.images, strict=True)}
        for d in (first, second)
    )
    assert one.keys() == two.keys()
    assert all(torch.equal(image, two[identity]) for identity, image in one.items())


def test_limit_is_balanced_and_the_same_every_time(tmp_path: Path) -> None:
    root = folder(tmp_path / "folder", count=30)
    data = load_data("cifake", str(root), split="test", limit=10)
    assert data.manifest["label"].value_counts().to_dict() == {0: 5, 1: 5}
    assert data.key == load_data("cifake", str(root), split="test", limit=10).key
    more = load_data("cifake", str(root), split="test", limit=20)
    assert set(data.manifest["id"]) < set(more.manifest["id"])
    assert len(choose(more.manifest, 10_000)) == 20


def test_parquet_is_read_in_any_order(tmp_path: Path) -> None:
    root = folder(tmp_path / "folder", count=9)
    data = load_data("cifake", str(parquet(root, tmp_path / "parquet", named=False)), split="test")
    shuffled = data.manifest.sample(frac=1, random_state=0).reset_index(drop=True)
    from robustbench_aigi.data import Dataset
    from robustbench_aigi.data.reading import read_contents

    assert list(read_contents(shuffled)) == [
        (root / f"{i}.png").read_bytes() for i in Dataset("x", shuffled).manifest["id"]
    ]


def test_images_of_mixed_size_are_batched_by_size(tmp_path: Path) -> None:
    root = folder(tmp_path / "folder", count=4)
    (root / "test" / "REAL" / "0001 (2).png").write_bytes(picture(1, size=(20, 28)))
    data = load_data("cifake", str(root), split="test")
    shapes = [tuple(batch.images.shape) for batch in data.batches(64)]
    assert shapes == [(1, 3, 20, 28), (7, 3, 32, 32)]
    with pytest.raises(DataError, match="mixes image sizes"):
        data.arrays()


BAD_FILES = {
    "empty": (b"", "empty"),
    "text": (b"no image", "not an image"),
    "truncated": (picture(0, kind="JPEG")[:300], "damaged"),
    "cmyk": (picture(0, "CMYK", "JPEG"), "CMYK"),
}


@pytest.mark.parametrize("kind", ["empty", "text", "truncated", "cmyk", "deep", "alpha"])
def test_unreadable_images_are_listed_with_the_reason(kind: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "folder")
    if kind == "deep":
        file = io.BytesIO()
        Image.fromarray(np.arange(1024, dtype=np.uint16).reshape(32, 32)).save(file, format="PNG")
        content = file.getvalue()
        reason = "more than 8 bits"
    elif kind == "alpha":
        file = io.BytesIO()
        rgba = np.random.default_rng(0).integers(0, 255, (32, 32, 4), dtype=np.uint8)
        Image.fromarray(rgba).save(file, format="PNG")
        content = file.getvalue()
        reason = "transparent"
    else:
        content, reason = BAD_FILES[kind]
    (root / "train" / "REAL" / "bad.jpg").write_bytes(content)
    whole = load_data("cifake", str(folder(tmp_path / "good")))
    data = load_data("cifake", str(root), skipped=tmp_path / "skipped.csv")
    skipped = pd.read_csv(tmp_path / "skipped.csv")
    assert skipped["id"].tolist() == ["train/REAL/bad"]
    assert reason in skipped["reason"][0]
    assert len(data) == len(whole)


def test_opaque_alpha_and_grey_are_taken_as_they_are() -> None:
    grey = decode(picture(3, "L"))
    assert torch.equal(grey[0], grey[1])
    assert torch.equal(decode(picture(3, "RGBA")), decode(picture(3)))
    with pytest.raises(ImageError):
        decode(b"\x89PNG")


def test_png_round_trip() -> None:
    pixels = torch.randint(0, 256, (3, 17, 9), dtype=torch.uint8)
    assert torch.equal(decode(encode_png(pixels)), pixels)


def test_bad_sources_say_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or folder"):
        load_data("cifake", str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="--source"):
        load_data("cifake", None)
    with pytest.raises(UnknownNameError, match="Did you mean cifake"):
        load_data("cifak", "x")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no train or test folder"):
        load_data("cifake", str(tmp_path / "empty"))
    root = folder(tmp_path / "folder")
    for file in (root / "train" / "FAKE").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="train split has images of one class only"):
        load_data("cifake", str(root))
    pq.write_table(pa.table({"picture": [1]}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="has the columns picture"):
        load_data("cifake", str(tmp_path / "train.parquet"))


def test_hub_out_of_reach_says_how_to_supply_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    def offline(*args: object, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(UnavailableError, match="--source PATH"):
        load_data("cifake", "owner/cifake")


def test_hub_snapshot_is_read_as_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    target = parquet(folder(tmp_path / "folder"), tmp_path / "parquet", named=True)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **kwargs: str(target))
    assert len(load_data("cifake", "owner/cifake", split="test")) == 12


@needs_cifake
def test_cifake_is_complete_and_labelled_our_way() -> None:
    data = load_data("cifake", str(CIFAKE), split="test")
    assert len(data) == 20_000
    assert data.manifest.groupby(["label", "category"]).size().eq(1000).all()
    assert data.manifest.loc[data.manifest["id"].str.startswith("test/FAKE"), "label"].eq(1).all()


@needs_cifake
def test_cifake_as_a_folder_is_the_same_as_in_parquet(tmp_path: Path) -> None:
    few = load_data("cifake", str(CIFAKE), limit=60)
    for identity, split, content in zip(
        few.manifest["id"], few.manifest["split"], few.contents(), strict=True
    ):
        place = tmp_path / "train" if split != "test" else tmp_path / "test"
        file = place / Path(identity).relative_to(identity.split("/")[0])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_name(file.name + ".jpg").write_bytes(content)
    again = load_data("cifake", str(tmp_path))
    columns = ["id", "label", "split", "category", "sha256"]
    a, b = (d.manifest[columns].sort_values("id").reset_index(drop=True) for d in (few, again))
    assert set(b["split"]) == {"train", "validation", "test"}
    a, b = (
        t.replace({"split": {"validation": "train"}}) for t in (a, b)
    )  # drawn from fewer images here
    pd.testing.assert_frame_equal(a, b)


def sized(sizes: list[tuple[int, int]]) -> Dataset:
    """A dataset of images that are nowhere, whose sizes are known."""
    table = pd.DataFrame(sizes, columns=["height", "width"])
    return Dataset("sized", table.assign(id=[str(number) for number in range(len(sizes))]))


def test_slices_hold_fewer_of_large_images() -> None:
    small = [(32, 32)] * 600
    assert [len(part) for part in sized(small).slices(250)] == [250, 250, 100]
    large = [(1024, 1024)] * 70
    assert [len(part) for part in sized(large).slices(250)] == [32, 32, 6]
    mixed = sized([(32, 32)] * 300 + [(4000, 3000)] * 5 + [(20_000, 20_000)])
    parts = mixed.slices(250)
    assert [len(part) for part in parts] == [250, 52, 2, 1, 1]
    assert [i for part in parts for i in part.manifest["id"]] == mixed.manifest["id"].tolist()
    unknown = Dataset("unknown", mixed.manifest.drop(columns=["height", "width"]))
    assert [len(part) for part in unknown.slices(250)] == [250, 56]


def test_sizes_are_listed_and_not_read_again(tmp_path: Path) -> None:
    folder(tmp_path)
    data = load_data("folder", str(tmp_path))
    assert data.manifest[["height", "width"]].to_numpy().tolist() == [[32, 32]] * len(data)
    for path in data.manifest["path"]:
        Path(path).unlink()
    assert data.one_size() == (32, 32)
