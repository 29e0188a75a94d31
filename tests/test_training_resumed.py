"""A killed training resumes as if it had not been, in its weights, in its order and in its log."""

import csv
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from robustbench_aigi.detectors import load_detector, save_detector
from robustbench_aigi.errors import CheckpointError, WriteError
from robustbench_aigi.training import (
    Arrays,
    TrainConfig,
    Trained,
    TrainingFiles,
    TrainingJob,
    fit,
    train_detector,
)
from robustbench_aigi.training.log import Log
from tests.test_training import cnn, easy

TRAIN, VALIDATION = easy(80), easy(32, seed=1)


@pytest.fixture(autouse=True)
def kept_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["robustbench_aigi.training.run_state"], "SAVE_SECONDS", 0)
    monkeypatch.setattr(sys.modules["robustbench_aigi.training.log"], "LOG_INTERVAL", 1)


class Killer:
    """A progress callback that ends the process, as far as the training knows, at a step; it
    remembers all steps.
    """

    def __init__(self, at: int) -> None:
        self.at, self.steps = at, list[int]()

    def __call__(self, task: str, done: int, total: int) -> None:
        self.steps.append(done)
        if done == self.at:
            raise KeyboardInterrupt


def begun_and_killed(
    plan: TrainConfig, folder: Path, at: int, train: Arrays = TRAIN, log: Path | None = None
) -> None:
    with pytest.raises(KeyboardInterrupt), Log(log) as lines:
        fit(cnn(), train, VALIDATION, plan, progress=Killer(at), state_folder=folder, log=lines)


@pytest.mark.parametrize(
    "at", [2, 6, 8]
)  # in the middle of an epoch, after its last step, and in a later one
@pytest.mark.parametrize(
    "numbers",
    [
        {},
        {"memory": 5, "intra_class_mixup": 0.1},
        {"mixup": 0.4, "cutmix": 1.0, "smoothing": 0.1, "awp": 0.01},
    ],
)
def test_final_weights_equal_the_uninterrupted_ones(
    at: int, numbers: dict[str, float], tmp_path: Path
) -> None:
    plan = TrainConfig(epochs=3, batch=16, **numbers)
    whole, again, order = cnn(), cnn(), Killer(0)
    expected = fit(whole, TRAIN, VALIDATION, plan)
    begun_and_killed(plan, tmp_path, at)
    history = fit(again, TRAIN, VALIDATION, plan, progress=order, state_folder=tmp_path)
    assert order.steps[-1] == 15
    assert (
        order.steps[0] == at
    )  # the state is written after the step is reported, so this one is taken again
    figures = [[row[key] for key in ("loss", "score", "called_fake")] for row in history.rows]
    assert figures == [
        [row[key] for key in ("loss", "score", "called_fake")] for row in expected.rows
    ]
    assert all(
        torch.equal(value, whole.state_dict()[key]) for key, value in again.state_dict().items()
    )


def test_the_log_continues_without_a_gap(tmp_path: Path) -> None:
    plan, path = TrainConfig(epochs=3, batch=16), tmp_path / "cnn.csv"
    begun_and_killed(plan, tmp_path, 7, log=path)
    begun_and_killed(plan, tmp_path, 13, log=path)
    with Log(path) as log:
        fit(cnn(), TRAIN, VALIDATION, plan, state_folder=tmp_path, log=log)
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    events = EventAccumulator(str(tmp_path / "cnn" / "fit"))
    events.Reload()
    assert sorted({event.step for event in events.Scalars("loss")}) == list(range(1, 16))
    assert [event.step for event in events.Scalars("loss")] == list(range(1, 16))
    assert [event.value for event in events.Scalars("epoch/score")] == pytest.approx(
        [float(r["score"]) for r in rows]
    )


def test_what_is_trained_stays_until_it_is_safe(tmp_path: Path) -> None:
    plan, steps = TrainConfig(epochs=2, batch=16), Killer(0)
    first, second = cnn(), cnn()
    fit(first, TRAIN, VALIDATION, plan, state_folder=tmp_path)
    fit(
        second, TRAIN, VALIDATION, plan, state_folder=tmp_path, progress=steps
    )  # as after a disk that was full at the end
    assert not steps.steps
    assert all(
        torch.equal(value, first.state_dict()[key]) for key, value in second.state_dict().items()
    )


@contextmanager
def no_room() -> Iterator[None]:
    """The system rejects every file of more than 100 kB, in the middle of its writing."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_is_full_costs_neither_the_last_checkpoint_nor_the_last_state(
    tmp_path: Path,
) -> None:
    good = tmp_path / "good.safetensors"
    save_detector(cnn(), good)
    begun_and_killed(TrainConfig(epochs=2, batch=16), tmp_path, 3)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"good.safetensors", "fit.pt"}
    assert min(len(content) for content in before.values()) > 100_000
    with no_room():
        with pytest.raises(WriteError, match=r"good\.safetensors.*Free some space and rerun"):
            save_detector(cnn(), good)
        with pytest.raises(WriteError, match=r"fit\.pt.*Free some space and rerun"):
            fit(cnn(), TRAIN, VALIDATION, TrainConfig(epochs=2, batch=16), state_folder=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_state_of_another_training_is_left_alone_and_a_damaged_one_reported(
    tmp_path: Path,
) -> None:
    plan, steps = TrainConfig(epochs=1, batch=16), Killer(0)
    begun_and_killed(plan, tmp_path, 3)
    fit(cnn(), easy(80, seed=2), VALIDATION, plan, progress=steps, state_folder=tmp_path)
    assert steps.steps == [1, 2, 3, 4, 5]
    state = tmp_path / "fit.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="train from the start"):
        fit(cnn(), TRAIN, VALIDATION, plan, state_folder=tmp_path)


def test_a_tower_that_is_done_is_not_trained_again(tmp_path: Path) -> None:
    recipe = TrainingJob(detector="clip-mlp", method="fare", epochs=1, numbers={"steps": 1})
    tasks = list[str]()

    def progress(task: str, done: int, total: int) -> None:
        tasks.append(task)
        if len(tasks) == 8:
            raise KeyboardInterrupt

    def trained() -> Trained:
        start, files = load_detector("clip-mlp"), TrainingFiles(tmp_path / "state")
        return train_detector(
            recipe, TRAIN, VALIDATION, start=start, progress=progress, files=files
        )

    torch.manual_seed(0)
    with pytest.raises(KeyboardInterrupt):
        trained()
    assert tasks[-1] == "fit robust-clip-mlp"
    before = len(tasks)
    torch.manual_seed(0)
    trained()
    assert set(tasks[before:]) == {"fit robust-clip-mlp"}
