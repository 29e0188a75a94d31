"""A plan follows the sizes of the images: time and disk by pixels, memory by the largest one."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from robustbench_aigi.data import Dataset, load_data
from robustbench_aigi.data.plusplus.request import BuildRequest
from robustbench_aigi.data.trials import (
    StoredSize,
    areas,
    planned_totals,
    sample_of,
    size_groups,
    try_work,
)
from robustbench_aigi.executors import InProcessExecutor
from robustbench_aigi.pipeline import datasets
from tests.test_planning import MAX_RATIO, occupied

PEAK_PROGRAM = """
import sys
from robustbench_aigi.data import load_data
from robustbench_aigi.evaluation.costs import estimate
from tests.finished_run import SUITE, detector
data = load_data("folder", sys.argv[1])
print(estimate({"good": detector("good")}, SUITE, data)[1]["good"])
"""
SURROGATE_WEIGHTS = "robustbench_aigi/weights/cifake-cnn-cifake.safetensors"


def folder_of(folder: Path, sides: list[int]) -> str:
    """Write noise images of these heights, half as wide, classes in turn."""
    rng = np.random.default_rng(0)
    for number, side in enumerate(sides):
        path = folder / ("REAL" if number % 2 else "FAKE") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (side, side // 2, 3), np.uint8)).save(path)
    return str(folder)


def shaped(sizes: list[tuple[int, int]]) -> Dataset:
    """Return a manifest of images of these heights and widths, which are not there."""
    count = len(sizes)
    rows = pd.DataFrame(sizes, columns=["height", "width"])
    ids = [str(number) for number in range(count)]
    return Dataset("shaped", rows.assign(id=ids, label=[n % 2 for n in range(count)], split="test"))


def pixel_passes(shard: Dataset) -> pd.DataFrame:
    """Work that takes a pass and a byte per pixel."""
    return shard.manifest.assign(forwards=areas(shard), backwards=0)


def bytes_of(table: pd.DataFrame) -> StoredSize:
    return StoredSize(float(table["forwards"].sum()), 100)


@pytest.mark.parametrize(
    "sizes",
    [
        [(64, 48)] * 300,
        [(64, 64)] * 300 + [(4000, 3000)],
        [(64, 64)] + [(2000, 3000)] * 40,
        [(300 + 5 * n, 400 + 4 * n) for n in range(260)],
        [(32, 32)],
    ],
    ids=["one size", "one large", "one small", "photographs", "one image"],
)
def test_mixed_sizes_scale_by_pixels(sizes: list[tuple[int, int]]) -> None:
    data = shaped(sizes)
    seen: list[int] = []

    def work(shard: Dataset) -> pd.DataFrame:
        seen.append(int(areas(shard).max()))
        return pixel_passes(shard)

    cost = try_work(work, data, bytes_of, shard_size=250)
    pixels = sum(height * width for height, width in sizes)
    assert cost.images == len(sizes)
    assert cost.passes == pytest.approx(pixels, rel=1e-6)
    assert cost.megabytes == pytest.approx((pixels + 100 * -(-len(sizes) // 250)) / 1e6, rel=1e-3)
    assert max(seen) == max(height * width for height, width in sizes)


def test_work_that_does_not_follow_pixels_is_counted_by_images_of_each_size() -> None:
    data = shaped([(64, 64)] * 300 + [(4000, 3000)])
    cost = try_work(lambda shard: shard.manifest.assign(forwards=7, backwards=0), data)
    assert cost.passes == pytest.approx(7 * 301)


def test_a_sample_has_both_classes_the_mean_size_and_the_largest_image() -> None:
    group = size_groups(shaped([(200 + n, 200) for n in range(100)]))[-1]
    sample = sample_of(group, 8)
    assert len(sample) == 8
    assert set(sample.manifest["label"]) == {0, 1}
    assert areas(sample).max() == areas(group).max()
    others = np.sort(areas(sample))[:-1]
    assert np.abs(others - areas(group).mean()).max() < 2000
    assert sample_of(group, 8).manifest.equals(sample.manifest)


def test_sizes_within_a_group_are_alike_and_no_image_is_lost() -> None:
    data = shaped([(32, 32)] * 3 + [(33, 32)] + [(100, 90)] * 2 + [(4000, 3000)])
    groups = size_groups(data)
    assert all(areas(group).max() < 4 * areas(group).min() for group in groups)
    ids = [name for group in groups for name in group.manifest["id"]]
    assert sorted(ids) == sorted(data.manifest["id"])
    unsized = Dataset("unsized", data.manifest.drop(columns=["height", "width"]))
    assert [len(group) for group in size_groups(unsized)] == [len(data)]


def planned_peak(source: str) -> int:
    call = [sys.executable, "-c", PEAK_PROGRAM, source]
    return int(subprocess.run(call, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc")
def test_memory_grows_with_the_largest_image(tmp_path: Path) -> None:
    small = planned_peak(folder_of(tmp_path / "small", [64] * 8))
    large = planned_peak(folder_of(tmp_path / "large", [64] * 7 + [1600]))
    pixels = 1600 * 800
    assert large - small > 3 * 4 * pixels  # a float copy at least


def test_disk_of_a_build_is_within_bounds(tmp_path: Path, tiny_suite: str) -> None:
    source = folder_of(tmp_path / "images", [64] * 20 + [400] * 2)
    request = BuildRequest(
        dataset="folder",
        source=source,
        attacks=tiny_suite,
        surrogates=[SURROGATE_WEIGHTS],
        samples=2,
    )
    executor = InProcessExecutor(1)
    expected = datasets.build(request, tmp_path / "set", executor=executor, dry_run=True)
    datasets.build(request, tmp_path / "set", executor=executor)
    ratio = float(expected["megabytes"].sum()) * 1e6 / occupied(tmp_path / "set")
    assert 1 / MAX_RATIO <= ratio <= MAX_RATIO
    parts = expected.set_index(["split", "attack"])["megabytes"]
    for attack in ("clean", "pgd-linf-8", "jpeg-75"):
        own = sum(occupied(path) for path in (tmp_path / "set").glob(f"*/{attack}"))
        planned = float(parts[:, attack].sum()) * 1e6
        assert 1 / MAX_RATIO <= planned / own <= MAX_RATIO


def test_workers_cost_their_start_and_their_memory() -> None:
    rows = [("command", 2.0, 1.0, 10.0), ("start of a worker", 3.0, 0.0, 10.0), ("a", 5, 2, 70.0)]
    costs = pd.DataFrame(rows, columns=["attack", "seconds", "megabytes", "memory"])
    alone = planned_totals(costs, 1, has_pool=False)
    assert (alone.seconds, alone.megabytes, alone.worker_memory, alone.memory) == (7, 3, 70, 70)
    pool = planned_totals(costs, 2, has_pool=True)
    assert (pool.seconds, pool.megabytes, pool.worker_memory, pool.memory) == (13, 3, 70, 150)


def test_images_are_read_as_planned(tmp_path: Path) -> None:
    data = load_data("folder", folder_of(tmp_path, [32, 64, 320]))
    assert sorted(areas(data).tolist()) == [32 * 16, 64 * 32, 320 * 160]
