import errno
import functools
import io
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pytest
import torch
from PIL import Image

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import load_data
from robustbench_aigi.data.decoding import decode
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.estimate import estimate_build
from robustbench_aigi.data.plusplus.image_files import encode_like
from robustbench_aigi.data.plusplus.jsonl import write_jsonl
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.data.plusplus.verify import verify
from robustbench_aigi.errors import DataError, WriteError
from robustbench_aigi.executors import InProcessExecutor, PoolExecutor
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.io.hashing import file_digest
from robustbench_aigi.progress import silent
from tests.test_evaluation import cnn


def test_plusplus_set_matches_its_manifest(
    tiny_recipe: str, tiny_suite: str, tmp_path: Path
) -> None:
    data = load_data(tiny_recipe)
    suite = load_suite(tiny_suite)
    parts = {
        "train": Part(data.split("train"), all_rows=False, samples=3),
        "test": Part(data.split("test"), all_rows=True, samples=0),
    }
    build_plusplus(parts, suite, {"cifake-cnn": cnn()}, tmp_path, lambda *args: None)
    manifest = pd.read_parquet(tmp_path / "manifest.parquet")
    assert [file_digest(tmp_path / path) for path in manifest["path"]] == manifest[
        "sha256"
    ].tolist()
    test = manifest.loc[manifest["split"] == "test", "attack"].value_counts().to_dict()
    assert test == {"clean": 24, "pgd-linf-8": 24, "one-pixel": 4, "jpeg-75": 24}
    assert ((manifest["split"] == "train") & (manifest["attack"] == "diffusion")).sum() == 3
    turned = manifest[
        (manifest["split"] == "train") & ~manifest["attack"].isin(["clean", "diffusion"])
    ]
    assert turned["source"].is_unique
    attacked = manifest[manifest["attack"] == "pgd-linf-8"]
    assert attacked["linf"].between(1, 8).all()
    assert (attacked["surrogate_sha256"] != "").all()
    assert (manifest.loc[manifest["attack"] == "one-pixel", "l0"] <= 1).all()
    scene = data.manifest.set_index("id")["parent"]
    made = manifest[manifest["attack"] != "diffusion"]
    assert (made["parent"].to_numpy() == scene[made["source"]].to_numpy()).all()
    assert (made.groupby("parent")["label"].nunique() == 2).any()
    assert load_plusplus(tmp_path, "test", "clean").manifest["sha256"].tolist() == list(
        data.split("test").manifest["sha256"]
    )
    with pytest.raises(DataError, match="needs the surrogate cifake-cnn"):
        build_plusplus(parts, suite, {}, tmp_path, lambda *args: None)


def parts_of(recipe: str) -> dict[str, Part]:
    return {"test": Part(load_data(recipe).split("test"), all_rows=True, samples=2)}


def test_the_number_of_workers_changes_no_byte(
    tiny_recipe: str, tiny_suite: str, tmp_path: Path
) -> None:
    for workers in (1, 2):
        out = tmp_path / str(workers)
        build_plusplus(
            parts_of(tiny_recipe),
            load_suite(tiny_suite),
            {"cifake-cnn": cnn()},
            out,
            silent,
            PoolExecutor(workers),
        )
    one, two = (pd.read_parquet(tmp_path / str(workers) / "manifest.parquet") for workers in (1, 2))
    pd.testing.assert_frame_equal(one, two)
    assert [file_digest(tmp_path / "2" / path) for path in two["path"]] == two["sha256"].tolist()


def test_files_are_changed_while_a_detector_is_attacked(
    tiny_recipe: str, tiny_suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustbench_aigi.data.plusplus.parts.SHARD_IMAGES", 2)
    order: list[str] = []

    def noted(task: str, done: int, total: int) -> None:
        order.append(task)

    build_plusplus(
        parts_of(tiny_recipe), load_suite(tiny_suite), {"cifake-cnn": cnn()}, tmp_path, noted
    )
    attacked = [place for place, task in enumerate(order) if "pgd" in task]
    changed = [place for place, task in enumerate(order) if "jpeg" in task]
    assert min(attacked) < max(changed)
    assert min(changed) < max(attacked)


def test_a_killed_build_goes_on(tiny_recipe: str, tiny_suite: str, tmp_path: Path) -> None:
    make = functools.partial(
        build_plusplus, parts_of(tiny_recipe), load_suite(tiny_suite), {"cifake-cnn": cnn()}
    )

    def kill(task: str, done: int, total: int) -> None:
        if "jpeg" in task:
            raise KeyboardInterrupt

    make(tmp_path / "whole", silent)
    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "killed", kill)
    kept = sorted((tmp_path / "killed" / "parts").glob("*pgd*"))
    assert kept
    before = [place.stat().st_mtime_ns for place in kept]
    make(tmp_path / "killed", silent)
    assert [place.stat().st_mtime_ns for place in kept] == before
    written = [(tmp_path / name / "manifest.parquet").read_bytes() for name in ("whole", "killed")]
    assert written[0] == written[1]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("what", ["images", "tables"])
def test_a_disk_that_fills_or_is_locked_loses_nothing_finished(
    what: str,
    number: int,
    tiny_recipe: str,
    tiny_suite: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    make = functools.partial(
        build_plusplus, parts_of(tiny_recipe), load_suite(tiny_suite), {"cifake-cnn": cnn()}
    )
    write = Path.write_bytes
    close = Path.chmod

    def fail_image(path: Path, content: bytes) -> int:
        if "one-pixel" in str(path):
            write(path, content[:9])
            raise OSError(number, os.strerror(number))
        return write(path, content)

    def fail_table(path: Path, mode: int) -> None:
        if "one-pixel" in path.name:
            raise OSError(number, os.strerror(number))
        close(path, mode)

    make(tmp_path / "whole", silent)
    with monkeypatch.context() as patch:
        method, fail = ("write_bytes", fail_image) if what == "images" else ("chmod", fail_table)
        patch.setattr(Path, method, fail)
        with pytest.raises(
            WriteError, match=rf"cannot write .*one-pixel.*{os.strerror(number)}.*to resume"
        ):
            make(tmp_path / "full", silent, InProcessExecutor(1))
    kept = list((tmp_path / "full" / "parts").iterdir())
    assert kept
    assert all(place.suffix == ".parquet" for place in kept)
    before = {place: place.stat().st_mtime_ns for place in kept}
    make(tmp_path / "full", silent)
    assert {place: place.stat().st_mtime_ns for place in kept} == before
    assert (tmp_path / "whole/manifest.parquet").read_bytes() == (
        tmp_path / "full/manifest.parquet"
    ).read_bytes()
    write_jsonl(tmp_path / "full")
    assert verify(tmp_path / "full") == []


def test_as_many_fool_the_surrogate_after_a_reload_as_the_manifest_says(
    tiny_recipe: str, tiny_suite: str, tmp_path: Path
) -> None:
    surrogate = cnn()
    build_plusplus(
        parts_of(tiny_recipe), load_suite(tiny_suite), {"cifake-cnn": surrogate}, tmp_path, silent
    )
    for attack in ("pgd-linf-8", "one-pixel"):
        part = load_plusplus(tmp_path, "test", attack)
        images, labels = part.arrays()
        with torch.no_grad():
            wrong = (surrogate.logits(from_bytes(images)) > surrogate.threshold) != (labels == 1)
        assert wrong.tolist() == part.manifest["fooled"].tolist()
        assert (part.manifest["forwards"] > 1).all()
    assert load_plusplus(tmp_path, "test", "jpeg-75").manifest["fooled"].isna().all()
    assert load_plusplus(tmp_path, "test", "jpeg-75").manifest["psnr"].between(15, 60).all()
    assert load_plusplus(tmp_path, "test", "jpeg-75").manifest["ssim"].between(0.2, 1).all()


class Usage(NamedTuple):
    free: int


def test_a_plan_says_what_is_left_and_whether_it_fits(
    tiny_recipe: str, tiny_suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = (parts_of(tiny_recipe), load_suite(tiny_suite), {"cifake-cnn": cnn()}, tmp_path / "set")
    expected = estimate_build(*asked)
    assert not (tmp_path / "set").exists()
    parts = expected[expected["split"] != ""].set_index("attack")
    assert parts["images"].to_dict() == {
        "clean": 24,
        "pgd-linf-8": 24,
        "one-pixel": 4,
        "jpeg-75": 24,
        "diffusion": 2,
    }
    assert parts["passes"].to_dict() == {
        "clean": 0,
        "pgd-linf-8": 24 * 6,
        "one-pixel": 4 * 13,
        "jpeg-75": 0,
        "diffusion": 0,
    }
    assert (expected["seconds"] > 0).all()
    assert (parts["megabytes"] > 0).all()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: Usage(free=10))
        with pytest.raises(DataError, match="has room for 0 MB"):
            estimate_build(*asked)
    build_plusplus(*asked, silent)
    assert estimate_build(*asked)["images"].sum() == 0


@pytest.mark.parametrize("quality", [75, 95])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_generated_images_are_stored_as_the_others_are(quality: int, subsampling: int) -> None:
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8)
    file = io.BytesIO()
    picture = Image.fromarray(pixels.permute(1, 2, 0).numpy())
    picture.save(file, format="JPEG", quality=quality, subsampling=subsampling)
    assert encode_like(file.getvalue(), pixels) == file.getvalue()
    file = io.BytesIO()
    picture.save(file, format="PNG")
    assert torch.equal(decode(encode_like(file.getvalue(), pixels)), pixels)
