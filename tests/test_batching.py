"""Batches fit a bound on memory; where memory runs out all the same, they are halved and the run
continues.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.attacks._engine import candidates
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import Card, Detector, load_detector
from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.errors import WriteError
from robustbench_aigi.evaluation import cells
from robustbench_aigi.evaluation.batching import (
    batch_for,
    bytes_per_image,
    is_out_of_memory,
    kept_bytes,
    set_batches,
)
from robustbench_aigi.evaluation.run_plan import read_run_plan
from robustbench_aigi.evaluation.shard_work import scored
from robustbench_aigi.executors import IN_PROCESS, Executor, PoolExecutor
from robustbench_aigi.io.files import describe_write_errors
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.testing.probe import probe_images
from tests.conftest import Linear
from tests.finished_run import SUITE, detector


def test_what_a_pass_keeps_is_counted() -> None:
    linear = Linear(torch.ones(3, 8, 8), 0.0)
    one, two = (kept_bytes(linear, torch.rand(n, 3, 8, 8)) for n in (1, 2))
    assert two - one == 4 * 3 * 8 * 8  # the image, for the slope of the weight
    net = load_detector("cifake-cnn").eval()
    per = [kept_bytes(net, torch.rand(n, 3, 32, 32)) for n in (1, 2, 3)]
    assert per[2] - per[1] == per[1] - per[0] > 4 * 3 * 32 * 32


def test_the_size_is_the_largest_that_fits() -> None:
    linear, image = Linear(torch.ones(3, 8, 8), 0.0), torch.rand(1, 3, 8, 8)
    each = bytes_per_image(linear, image)
    assert each == 4 * 3 * 8 * 8
    assert batch_for(each) == 128
    assert batch_for(each, 9 * each) == 8
    assert batch_for(each, 8 * each - 1) == 4
    assert batch_for(each, 1) == 1


def test_a_black_box_is_not_asked(tiny_recipe: str) -> None:
    class Silent(Linear):
        def logits(self, images: Tensor) -> Tensor:
            raise AssertionError("asked")

    black, white = Silent(torch.ones(3, 32, 32), 0.0), detector("good")
    black.describe(gradient="none")
    data = load_data(tiny_recipe, split="test")
    kept = set_batches([black, white], data)
    assert kept == [0, bytes_per_image(white, torch.rand(1, 3, 32, 32)) * min(128, len(data))]
    assert (black.at_once, white.at_once) == (128, 128)


def test_work_is_done_where_the_accelerator_is(
    tiny_recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda check_available=False: torch.device("meta")
    )
    mine = detector("good")
    with pytest.raises(
        RuntimeError, match="meta tensor"
    ):  # it came to logits there, and they have no values
        scored(mine, None)(load_data(tiny_recipe, split="test"))
    assert {parameter.device.type for parameter in mine.parameters()} == {"meta"}


def test_an_accelerator_meets_batches_of_few_sizes() -> None:
    met: list[int] = []

    class Watching(Linear):
        def logits(self, images: Tensor) -> Tensor:
            met.append(len(images))
            return super().logits(images)

    mine = Watching(torch.ones(3, 8, 8), 0.0)
    assert [len(on_device(mine, torch.rand(n, 3, 8, 8))) for n in (5, 100)] == met == [5, 100]
    mine.to("meta")
    met.clear()
    counts = range(1, 129)
    assert [len(on_device(mine, torch.rand(n, 3, 8, 8))) for n in counts] == list(counts)
    assert all(n <= size <= max(n + 1, 1.5 * n) for n, size in zip(counts, met, strict=True))
    assert len(set(met)) == 14
    mine.at_once = 100  # what memory allows is not exceeded
    met.clear()
    assert len(on_device(mine, torch.rand(99, 3, 8, 8))) == 99
    assert len(on_device(mine, torch.rand(130, 3, 8, 8))) == 130
    assert met == [100, 130]


@pytest.mark.parametrize("by", [IN_PROCESS, PoolExecutor(2)], ids=str)
def test_a_run_goes_on_with_half_as_many_when_memory_runs_out(
    by: Executor, tiny_recipe: str, tmp_path: Path
) -> None:
    hungry = detector("good")
    inner = type(hungry).logits

    class Hungry(type(hungry)):  # type: ignore[misc]
        default_card = hungry.card

        def logits(self, images: Tensor) -> Tensor:
            if len(images) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return inner(self, images)

    hungry.__class__ = Hungry
    data = load_data(tiny_recipe, split="test")
    matrix = evaluate([hungry], SUITE, data, tmp_path / "hungry", executor=by)
    assert (matrix["status"] == "ok").all()
    grid = read_run_plan(tmp_path / "hungry")
    assert grid is not None
    assert grid.detectors["good"].at_once == 4
    frugal = detector("good")
    again = evaluate(
        [frugal], SUITE, data, tmp_path / "hungry"
    )  # the size is remembered, nothing is done again
    assert frugal.at_once == 4
    assert again["accuracy"].equals(matrix["accuracy"])


def test_memory_that_runs_out_in_the_middle_of_an_attack_changes_no_result(
    tiny_recipe: str, tmp_path: Path
) -> None:
    hungry = detector("good")
    inner = type(hungry).logits

    class Fragmented(type(hungry)):  # type: ignore[misc]
        default_card = hungry.card
        gradient_passes = 0

        def logits(self, images: Tensor) -> Tensor:
            self.gradient_passes += images.requires_grad
            if self.gradient_passes > 7 and len(images) > 5:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return inner(self, images)

    hungry.__class__ = Fragmented
    data = load_data(tiny_recipe, split="test")
    matrix = evaluate([hungry], SUITE, data, tmp_path / "hungry")
    assert isinstance(hungry, Fragmented)
    assert hungry.gradient_passes > 7
    assert hungry.at_once == 4
    assert (matrix["status"] == "ok").all()
    frugal = detector("good")
    with batches_of_at_most(4):
        evaluate([frugal], SUITE, data, tmp_path / "frugal")
    for place in (tmp_path / "frugal" / "cells").rglob("shard-*.parquet"):
        other = tmp_path / "hungry" / place.relative_to(tmp_path / "frugal")
        pd.testing.assert_frame_equal(pd.read_parquet(other), pd.read_parquet(place))


@contextmanager
def batches_of_at_most(most: int) -> Iterator[None]:
    """Let no batch be larger."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustbench_aigi.evaluation.batching.MAX_BATCH", most)
        yield


def test_a_full_disk_keeps_the_finished_shards(tiny_recipe: str, tmp_path: Path) -> None:
    data = load_data(tiny_recipe, split="test")
    out = tmp_path / "run"
    write = cells.write_shard
    written: list[Path] = []

    def full_after_three(table: pd.DataFrame, place: Path, key: str) -> None:
        if len(written) == 3:
            with describe_write_errors(place):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(table, place, key)
        written.append(place)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robustbench_aigi.evaluation.cell_runner.write_shard", full_after_three)
        with pytest.raises(WriteError, match=r"No space left .*Free some space and rerun"):
            evaluate([detector("good")], SUITE, data, out)
    made = {place: place.stat().st_mtime_ns for place in written}
    assert len(made) == 3
    matrix = evaluate([detector("good")], SUITE, data, out)
    assert (matrix["status"] == "ok").all()
    assert {place: place.stat().st_mtime_ns for place in written} == made


def test_a_single_image_that_does_not_fit_is_an_error_of_its_cell(
    tiny_recipe: str, tmp_path: Path
) -> None:
    hungry = detector("hungry")

    def none(*given: object) -> None:
        raise MemoryError("no room")

    next(hungry.children()).register_forward_pre_hook(none)
    matrix = evaluate([hungry], SUITE, load_data(tiny_recipe, split="test"), tmp_path)
    assert "error: clean: MemoryError: no room" in matrix["status"].tolist()


def test_errors_that_say_so_are_of_memory() -> None:
    said = (
        "[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory: you tried to"
        " allocate 80 GB"
    )
    assert is_out_of_memory(RuntimeError(said))
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("one-pixel", {"population": 20, "generations": 2}),
        ("k-pixel", {"population": 20, "generations": 2}),
        ("square-linf", {"queries": 40}),
        ("square-l2", {"queries": 40}),
        ("one-pixel-exhaustive", {}),
    ],
)
def test_candidates_at_once_fit_a_bound(
    name: str, numbers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """B15: memory does not grow with the image, whose candidates are scored a few at a time."""
    images, labels = probe_images(8)
    seen: list[int] = []

    class Counting(Detector):
        default_card = Card(name="counting", source="tests", weights="none")

        def logits(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return images.mean(dim=(1, 2, 3)) - 0.5 + (images[:, 0, 0, 0] - images[:, 1, 3, 3])

    detector = Counting()
    detector.at_once = 10**6
    attack = load_attack(name, **numbers)
    free = attack(detector, images[:1], labels[:1], full=True)
    assert max(seen) > 4
    seen.clear()
    monkeypatch.setattr(candidates, "MAX_VALUES", 4 * images[0].numel())
    bounded = attack(detector, images[:1], labels[:1], full=True)
    assert max(seen) <= 4
    assert torch.equal(bounded.images, free.images)
    assert torch.equal(bounded.forwards, free.forwards)
