import io
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, JpegImagePlugin

from robustbench_aigi.data.dataset import MANIFEST_COLUMNS, Dataset
from robustbench_aigi.data.decoding import decode
from robustbench_aigi.data.plusplus import samples
from robustbench_aigi.data.plusplus.samples import (
    SAMPLE_COLUMNS,
    encode_sample,
    make_samples,
    reduce_to_square,
)
from robustbench_aigi.data.prompts import Prompts, load_prompts
from robustbench_aigi.errors import ConfigError, DataError, UnavailableError, UnknownNameError
from robustbench_aigi.generators import CLASS_NAMES
from robustbench_aigi.generators.pipelines import ShippedSampler
from tests.conftest import CIFAKE, needs_cifake
from tests.tiny_pipelines import level, save


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny Stable Diffusion."""
    return save("stable-diffusion", tmp_path_factory.mktemp("tiny"))


def prompts(*models: str, **changes: Any) -> Prompts:
    rows = [
        {"id": model, "licence": "test", "steps": 1, "size": None if "mini" in model else 32}
        for model in models
    ]
    classes = (
        {"cat": "cat", "dog": "dog"}
        if models == ("mini-diffusion",)
        else {"cat": "a cat", "dog": "a dog"}
    )
    basis = {
        "name": "tiny",
        "version": 1,
        "images": {"train": 2, "test": 1},
        "classes": classes,
        "models": rows,
    }
    return Prompts.model_validate({**basis, **changes})


def test_samples_are_rows_of_a_dataset(tmp_path: Path) -> None:
    wanted = prompts("mini-diffusion")
    table = make_samples(wanted, tmp_path)
    assert list(table.columns) == [*MANIFEST_COLUMNS, *SAMPLE_COLUMNS]
    assert table.groupby(["split", "category"]).size().to_dict() == {
        (split, category): count
        for split, count in wanted.images.items()
        for category in ("cat", "dog")
    }
    assert table["label"].eq(1).all()
    assert table["generator"].eq("mini-diffusion").all()
    assert table["prompt"].eq(table["category"]).all()
    assert table["id"].is_unique
    assert table["parent"].eq(table["id"]).all()
    assert table["revision"].str.startswith("sha256:").all()
    assert table["sha256"].is_unique
    kept = pd.read_parquet(tmp_path / "manifest.parquet")
    pd.testing.assert_frame_equal(
        kept.assign(path=[str(tmp_path / path) for path in kept["path"]]), table
    )
    images, labels = Dataset("samples", table).arrays()
    assert images.shape == (6, 3, 32, 32)
    assert labels.eq(1).all()


class StopError(Exception):
    """What a kill is to a test."""


def test_a_stopped_call_goes_on_and_ends_with_the_same_bytes(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = prompts(tiny, encoding="jpeg", size=20, template="photograph of {}")
    whole = make_samples(wanted, tmp_path / "whole")
    seen: list[tuple[int, int]] = []

    def stop(task: str, done: int, total: int) -> None:
        seen.append((done, total))
        if done == 4 and len(seen) == 5:
            raise StopError

    with pytest.raises(StopError):
        make_samples(wanted, tmp_path / "again", stop)
    assert len(list((tmp_path / "again").rglob("*.jpg"))) == 4
    again = make_samples(wanted, tmp_path / "again", stop)
    assert seen == [(i, 6) for i in (0, 1, 2, 3, 4, 4, 5, 6)]
    pd.testing.assert_frame_equal(again.drop(columns="path"), whole.drop(columns="path"))
    assert whole["prompt"].tolist() == ["photograph of a cat"] * 3 + ["photograph of a dog"] * 3
    assert decode(Path(whole["path"][0]).read_bytes()).shape == (3, 20, 20)

    def never(*args: object, **numbers: object) -> None:
        raise AssertionError("a finished set needs no model")

    monkeypatch.setattr(samples, "load_sampler", never)
    pd.testing.assert_frame_equal(make_samples(wanted, tmp_path / "again"), again)


def test_other_settings_are_other_images_and_more_images_keep_the_first(tmp_path: Path) -> None:
    few = make_samples(prompts("mini-diffusion"), tmp_path)
    more = make_samples(prompts("mini-diffusion", images={"train": 2, "test": 2}), tmp_path)
    assert set(few["sha256"]) < set(more["sha256"])
    other = make_samples(prompts("mini-diffusion", seed=1), tmp_path)
    assert not set(other["sha256"]) & set(more["sha256"])
    batched = make_samples(prompts("mini-diffusion"), tmp_path / "batched", batch=4)
    for one, two in zip(few["path"], batched["path"], strict=True):
        assert level(decode(Path(one).read_bytes()), decode(Path(two).read_bytes())) <= 1


def test_a_model_out_of_reach_keeps_no_other_from_its_images(tmp_path: Path, tiny: str) -> None:
    wanted = prompts(str(tmp_path / "nowhere" / "at" / "all"), tiny)
    with pytest.raises(
        UnavailableError,
        match=r"1 of 2 models are out of reach: .*/all; the images of the others are in",
    ):
        make_samples(wanted, tmp_path)
    assert pd.read_parquet(tmp_path / "manifest.parquet")["generator"].tolist() == [tiny] * 6


def test_two_revisions_are_not_mixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_samples(prompts("mini-diffusion", images={"test": 1}), tmp_path)
    moved = ShippedSampler(1)
    moved.revision = "sha256:other"
    monkeypatch.setattr(samples, "load_sampler", lambda *args, **numbers: moved)
    with pytest.raises(
        DataError, match=r"was begun with sha256:.*now there is sha256:other. Write revision ="
    ):
        make_samples(prompts("mini-diffusion", images={"test": 2}), tmp_path)


@pytest.mark.parametrize("kernel", ["box", "bilinear", "hamming", "bicubic", "lanczos"])
def test_images_are_reduced_with_antialiasing_from_their_middle_square(kernel: str) -> None:
    stripes = (torch.arange(1024) % 2 * 255).to(torch.uint8).expand(3, 768, 1024)
    small = reduce_to_square(stripes, 32, kernel)
    assert small.shape == (3, 32, 32)
    assert level(small, torch.full_like(small, 127)) <= 2
    ramp = torch.arange(64, dtype=torch.uint8).expand(3, 40, 64)
    assert torch.equal(reduce_to_square(ramp, 40, kernel), ramp[..., 12:52])


@needs_cifake
def test_jpeg_files_are_like_cifakes() -> None:
    prompt_file = load_prompts("cifakepp")
    own = encode_sample(
        torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8),
        prompt_file.encoding,
        prompt_file.quality,
    )
    rows = next(pq.ParquetFile(CIFAKE / "test.parquet").iter_batches(200, columns=["image.bytes"]))
    contents = rows.column("image").field("bytes").to_pylist()
    facts = {
        (
            str(image.quantization),
            JpegImagePlugin.get_sampling(image),
            image.format,
            image.mode,
            tuple(image.info),
        )
        for image in (
            JpegImagePlugin.JpegImageFile(io.BytesIO(content)) for content in [own, *contents]
        )
    }
    assert len(facts) == 1
    assert Image.open(io.BytesIO(own)).size == (32, 32)


def test_the_studys_set_is_ready() -> None:
    study = load_prompts("cifakepp")
    assert [model.slug for model in study.models] == [
        "stable-diffusion-2",
        "stable-diffusion-2-1",
        "stable-diffusion-3.5-large-turbo",
        "flux.1-dev",
        "pixart-xl-2-512x512",
    ]
    assert sum(study.images.values()) == 100
    assert tuple(study.classes) == CLASS_NAMES[:10]
    assert all(model.licence for model in study.models)
    offline = load_prompts("mini")
    assert [model.id for model in offline.models] == ["mini-diffusion"]
    assert all(offline.template.format(words) in CLASS_NAMES for words in offline.classes.values())


def test_prompt_files_are_checked(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownNameError, match=r"no prompt file called 'cifakep'\. Did you mean cifakepp"
    ):
        load_prompts("cifakep")
    with pytest.raises(ValueError, match=r"one \{\} for the words"):
        prompts("mini-diffusion", template="a cat")
    with pytest.raises(ValueError, match="must be distinct"):
        prompts("one/model", "two/model")
    (tmp_path / "mine.toml").write_text('name = "mine"\nspeed = 3\n')
    with pytest.raises(ConfigError, match="speed"):
        load_prompts(str(tmp_path / "mine.toml"))
