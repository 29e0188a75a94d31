"""Training images of any size that stay on disk."""

import io
import os
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.data.decoding import Rows
from robustbench_aigi.data.reading import Reader
from robustbench_aigi.detectors import load_detector
from robustbench_aigi.errors import DataError, UserError
from robustbench_aigi.pipeline.train import train
from robustbench_aigi.pipeline.training_data import arrays_of, recipe_data
from robustbench_aigi.training import TrainConfig, TrainingJob, train_detector
from robustbench_aigi.training.arrays import Arrays, batch_at, batch_count, pixels_of, predict
from robustbench_aigi.training.image_policy import ImagePolicy
from robustbench_aigi.training.streaming import BatchRequest, StreamedImages
from tests.processes import trained_weights


def photograph(side: tuple[int, int], number: int, is_fake: bool) -> Image.Image:
    """Smooth colours, dark ones if it is real."""
    rng = np.random.default_rng(number)
    low = 150 if is_fake else 20
    small = rng.integers(low, low + 80, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(side, Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Image files of several sizes and formats, in two splits and classes."""
    root = tmp_path_factory.mktemp("mixed")
    sides = ((40, 56), (64, 48), (33, 33), (20, 70))
    for split, count in (("train", 24), ("validation", 8)):
        for label in ("REAL", "FAKE"):
            folder = root / split / label
            folder.mkdir(parents=True)
            for number in range(count):
                image = photograph(sides[number % 4], number, label == "FAKE")
                suffix = ("png", "webp", "bmp")[number % 3]
                image.save(folder / f"{number}.{suffix}", lossless=True)
    return root


def loaded(root: Path, split: str = "train") -> Dataset:
    return load_data("cifake", str(root), split=split)


def streamed(root: Path, workers: int = 0, **fields: object) -> StreamedImages:
    policy = ImagePolicy.model_validate({"size": 32} | fields)
    return StreamedImages.of(loaded(root).manifest, policy, workers)


@pytest.mark.parametrize("fit", ["crop", "resize", "pad"])
@pytest.mark.parametrize("side", [(40, 56), (9, 100), (1, 40), (32, 32), (300, 12)])
def test_views_have_one_size_and_hold_what_the_image_holds(fit: str, side: tuple[int, int]) -> None:
    image = np.full((*side, 3), 200, dtype=np.uint8)
    policy = ImagePolicy.model_validate({"size": 32, "fit": fit, "jpeg": 0.5, "rescale": 0.5})
    views = [policy.middle_view(image)]
    for seed in range(8):
        views.append(policy.training_view(image, torch.Generator().manual_seed(seed)))
    for view in views:
        assert view.shape == (3, 32, 32)
        assert view.dtype == torch.uint8
        filled = view != 0 if fit == "pad" else torch.ones_like(view, dtype=torch.bool)
        assert (view[filled].int() - 200).abs().max() <= 3


def test_a_crop_is_a_part_of_the_image() -> None:
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, 40, 50), generator=rng, dtype=torch.uint8)
    rows = image.permute(1, 2, 0).numpy()
    policy = ImagePolicy(size=32)
    corners = set()
    for seed in range(40):
        view = policy.training_view(rows, torch.Generator().manual_seed(seed))
        found = [
            (top, left)
            for top in range(9)
            for left in range(19)
            if torch.equal(image[:, top : top + 32, left : left + 32], view)
        ]
        assert len(found) == 1
        corners |= set(found)
    assert len(corners) > 20
    assert torch.equal(policy.middle_view(rows), image[:, 4:36, 9:41])


def test_reading_gives_the_images_in_order_whoever_decodes(mixed: Path) -> None:
    alone = streamed(mixed)
    requests = [BatchRequest(range(start, start + 5), "seed") for start in (0, 30, 5)]
    one = list(alone.read(requests))
    two = list(streamed(mixed, workers=2).read(requests))
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    manifest = loaded(mixed).manifest
    pixels = list(Dataset("mixed", manifest).pixels())
    middle = torch.cat(list(alone.split(7)))
    assert torch.equal(
        middle[11], ImagePolicy(size=32).middle_view(pixels[11].permute(1, 2, 0).numpy())
    )
    assert torch.equal(pixels_of(alone[[40, 3]]), middle[[40, 3]])
    assert alone[alone.rows < 4].shape == (4, 3, 32, 32)
    assert alone.shape == (48, 3, 32, 32)


def parquet_set(folder: Path, files: int, groups: int, rows: int) -> pd.DataFrame:
    """Parquet files of so many row groups; the red of an image tells its number."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest = []
    for number in range(files):
        path = folder / f"{number}.parquet"
        images = []
        for row in range(groups * rows):
            value = (number * groups * rows + row) % 256
            content = io.BytesIO()
            Image.new("RGB", (10, 10), (value, 0, 0)).save(content, format="PNG")
            images.append({"bytes": content.getvalue(), "path": None})
            manifest.append(
                {"id": f"{number}-{row}", "path": str(path), "row": row, "label": row % 2}
            )
        table = pa.table({"image": images, "label": [row % 2 for row in range(groups * rows)]})
        pq.write_table(table, path, row_group_size=rows)
    return pd.DataFrame(manifest).assign(split="train", sha256="", generator="", parent="")


def test_blocks_of_parquet_files_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = parquet_set(tmp_path, files=3, groups=4, rows=10)
    images = StreamedImages.of(manifest, ImagePolicy(size=8), 0)
    blocks = images.reader.blocks
    assert blocks.unique(return_counts=True)[1].tolist() == [10] * 12
    rng = torch.Generator().manual_seed(0)
    monkeypatch.setattr("robustbench_aigi.training.streaming.SHUFFLE_WINDOW", 20)
    order = images.order(torch.arange(len(images)), rng)
    assert sorted(order.tolist()) == list(range(120))
    assert order.tolist() != sorted(order.tolist())
    reads = []
    from robustbench_aigi.data.sources.contents import _OpenTable

    original = _OpenTable.read

    def counted(self: _OpenTable, group: int) -> object:
        reads.append(group)
        return original(self, group)

    monkeypatch.setattr(_OpenTable, "read", counted)
    batches = list(images.read([BatchRequest(part.tolist(), None) for part in order.split(10)]))
    shown = torch.cat(batches)[:, 0, 0, 0]
    assert shown.tolist() == order.tolist()
    assert len(reads) == 12


def test_files_are_shuffled_fully_and_groups_stay_together(mixed: Path) -> None:
    images = streamed(mixed)
    groups = torch.arange(48) // 2
    orders = [images.order(groups, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])
    assert sorted(orders[0].tolist()) == list(range(48))
    pairs = groups[orders[0]].view(-1, 2)
    assert (pairs[:, 0] == pairs[:, 1]).all()


@pytest.mark.parametrize(("count", "size"), [(7, 3), (6, 3), (1, 3), (2, 3), (8, 3), (3, 1)])
def test_batches_cover_an_order_and_none_but_the_only_one_has_one_image(
    count: int, size: int
) -> None:
    order = torch.arange(count)
    parts = [batch_at(order, size, number) for number in range(batch_count(count, size))]
    assert torch.equal(torch.cat(parts), order)
    if size > 1 and count > 1:
        assert all(len(part) > 1 for part in parts)


NUMBERS = {"size": 32, "jpeg": 0.3, "rescale": 0.2, "batch": 12, "shift": 0, "workers": 0}


def trained(root: Path, out: Path, **changes: object) -> dict[str, Tensor]:
    numbers = NUMBERS | {name: value for name, value in changes.items() if name != "method"}
    method = str(changes.get("method", "plain"))
    source = str(root)
    detector = train(
        "cifake-cnn", "cifake", out, source=source, epochs=4, method=method, numbers=numbers
    )
    return detector.state_dict()


def same(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def test_a_training_is_the_same_however_many_decode(mixed: Path, tmp_path: Path) -> None:
    alone = trained(mixed, tmp_path / "alone.safetensors")
    helped = trained(mixed, tmp_path / "helped.safetensors", workers=2)
    assert same(alone, helped)
    assert load_detector(str(tmp_path / "alone.safetensors")).card.trained_size == (32, 32)


def test_a_killed_training_resumes_to_the_same_weights(
    mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(mixed, tmp_path / "whole.safetensors")
    monkeypatch.setattr("robustbench_aigi.training.run_state.SAVE_SECONDS", 0)
    steps = 0

    def killing(task: str, done: int, total: int) -> None:
        nonlocal steps
        steps += 1
        if steps == 6:  # in the middle of the second epoch
            raise KeyboardInterrupt

    out = tmp_path / "killed.safetensors"
    with pytest.raises(KeyboardInterrupt):
        train(
            "cifake-cnn",
            "cifake",
            out,
            source=str(mixed),
            epochs=3,
            numbers=NUMBERS,
            progress=killing,
        )
    assert same(trained(mixed, out), whole)


@pytest.mark.parametrize("method", ["pgd", "trades", "fast"])
def test_adversarial_training_streams(mixed: Path, tmp_path: Path, method: str) -> None:
    out = tmp_path / "robust.safetensors"
    weights = trained(mixed, out, method=method, steps=1)
    assert all(tensor.isfinite().all() for tensor in weights.values())


def test_images_of_mixed_sizes_are_cut_to_what_the_detector_sees(
    mixed: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    out = tmp_path / "own.safetensors"
    train(
        "cifake-cnn",
        "cifake",
        out,
        source=str(mixed),
        epochs=5,
        numbers={"workers": 0},
        say=said.append,
    )
    assert any("cut to size=32 fit='crop'" in line for line in said)


class KillsOnce(ImagePolicy):
    """Kills its worker, the first time."""

    marker: Path

    def middle_view(self, image: Rows) -> Tensor:
        if not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().middle_view(image)


def test_a_lost_worker_is_replaced(mixed: Path, tmp_path: Path) -> None:
    policy = KillsOnce(size=32, marker=tmp_path / "killed")
    images = StreamedImages.of(loaded(mixed).manifest, policy, 1)
    seen = list(images.split(6))
    assert policy.marker.exists()
    expected = streamed(mixed).split(6)
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_changed_is_named(tmp_path: Path, workers: int) -> None:
    for number in range(4):
        photograph((40, 40), number, False).save(tmp_path / f"{number}.png")
    manifest = pd.DataFrame(
        {"id": [f"{n}" for n in range(4)], "path": [str(tmp_path / f"{n}.png") for n in range(4)]}
    ).assign(row=-1, label=0, split="train", sha256="")
    images = StreamedImages.of(manifest, ImagePolicy(size=32), workers)
    (tmp_path / "2.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"2 at .*2\.png: not an image.*restore it"):
        list(images.split(2))


def test_the_policy_of_a_training_is_checked() -> None:
    assert TrainConfig(epochs=1).image_policy(64) is None
    assert TrainConfig(epochs=1, jpeg=0.5).image_policy(64) == ImagePolicy(size=64, jpeg=0.5)
    with pytest.raises(UserError, match="fit"):
        TrainConfig.from_numbers({"epochs": 1, "fit": "stretch"})


def test_predictions_are_those_of_the_same_images_in_memory(mixed: Path) -> None:
    torch.manual_seed(0)
    detector = load_detector("cifake-cnn").eval()
    data = loaded(mixed)
    arrays = arrays_of(data, ImagePolicy(size=32), 0)
    assert isinstance(arrays.images, StreamedImages)
    assert torch.equal(
        predict(detector, arrays.images), predict(detector, pixels_of(arrays.images))
    )


def test_a_reader_goes_to_another_process(mixed: Path) -> None:
    import pickle

    reader = Reader.of(loaded(mixed).manifest)
    again = pickle.loads(pickle.dumps(reader))
    assert np.array_equal(again.rows(5), reader.rows(5))


def test_two_processes_share_streamed_batches(mixed: Path, tmp_path: Path) -> None:
    """Each decodes its own images, and the weights are those of one process."""
    script = tmp_path / "two.py"
    script.write_text(
        "import sys, torch\n"
        "from robustbench_aigi.data import load_data\n"
        "from robustbench_aigi.pipeline.training_data import arrays_of\n"
        "from robustbench_aigi.training import TrainConfig, fit\n"
        "from robustbench_aigi.training.image_policy import ImagePolicy\n"
        "from tests.conftest import Linear\n"
        "policy = ImagePolicy(size=32, jpeg=0.3, rescale=0.3)\n"
        f"data = load_data('cifake', {str(mixed)!r})\n"
        "train = arrays_of(data.split('train'), policy, 0)\n"
        "validation = arrays_of(data.split('validation'), policy, 0)\n"
        "detector = Linear(torch.zeros(3, 32, 32), 0.0, centre=0.5)\n"
        "fit(detector, train, validation, TrainConfig(epochs=2, batch=16))\n"
        "torch.save(detector.state_dict(), sys.argv[1])\n"
    )
    (one,) = trained_weights(script, 1)
    for weights in trained_weights(script, 2):
        for name, value in one.items():
            torch.testing.assert_close(weights[name], value, atol=1e-5, rtol=1e-4)


def test_old_images_are_replayed_from_disk(mixed: Path, tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    trained(mixed, start)
    detector = train(
        "cifake-cnn",
        "cifake",
        tmp_path / "adapted.safetensors",
        source=str(mixed),
        epochs=2,
        method="adapt",
        start=str(start),
        replay=("cifake", str(mixed)),
        numbers=NUMBERS,
    )
    assert "rehearsed" in detector.card.trained_on


def test_clip_encoders_train_on_streamed_images(mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "clip.safetensors"
    numbers = {"size": 32, "batch": 12, "steps": 1, "workers": 0}
    detector = train(
        "clip-mlp",
        "cifake",
        out,
        source=str(mixed),
        epochs=1,
        method="fare",
        start="cifake",
        numbers=numbers,
    )
    assert detector.card.name == "robust-clip-mlp"


def test_a_training_free_detector_is_calibrated_on_streamed_images(
    mixed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "rigid.safetensors"
    detector = train("rigid", "cifake", out, source=str(mixed), numbers={"size": 32, "workers": 0})
    assert detector.card.trained_size == (32, 32)


def test_settings_of_a_cut_are_not_ignored_and_stand_on_the_card(
    mixed: Path, tmp_path: Path
) -> None:
    job = TrainingJob(detector="cifake-cnn", epochs=1, numbers={"jpeg": 0.5})
    images = torch.zeros(4, 3, 32, 32, dtype=torch.uint8)
    memory = Arrays(images, torch.tensor([0, 1, 0, 1]))
    with pytest.raises(UserError, match="settings of images on disk, got images in memory"):
        train_detector(job, memory, memory)
    trained(mixed, tmp_path / "seen.safetensors")
    assert {"jpeg", "resize"} <= set(load_detector(str(tmp_path / "seen.safetensors")).card.seen)


def test_replayed_images_of_another_size_are_cut_to_one(mixed: Path, tmp_path: Path) -> None:
    sets = {}
    for side in (32, 40):
        for split in ("train", "validation"):
            for label in ("REAL", "FAKE"):
                folder = tmp_path / str(side) / split / label
                folder.mkdir(parents=True)
                for number in range(4):
                    photograph((side, side), number, label == "FAKE").save(folder / f"{number}.png")
        data = load_data("cifake", str(tmp_path / str(side)))
        sets[side] = recipe_data(data)
    job = TrainingJob(detector="cifake-cnn", epochs=1, numbers={"workers": 0})
    assert sets[40].cut_for(job, 32).policy is None
    both = sets[40].with_replay_of(sets[32]).cut_for(job, 32)
    assert both.policy == ImagePolicy(size=32)
    assert both.train.images.shape == (10, 3, 32, 32)  # one of each stratum at least
