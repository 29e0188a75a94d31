"""The state of a training in progress, saved now and then, from which a killed one resumes."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from robustbench_aigi.training import saved_state
from robustbench_aigi.training.training_run import Epoch, TrainingRun

SAVE_SECONDS = 60
"""Least time between two saves of a training's state, which may be a hundred megabytes."""


@dataclass
class StateKeeper:
    """Saves the state of a training every :data:`SAVE_SECONDS`, and at its end.

    Attributes:
        run: whose state it is.
        folder: of the state; None saves nothing.
        saved_at: time of the last save, in seconds of the monotonic clock.
    """

    run: TrainingRun
    folder: Path | None
    saved_at: float = field(default_factory=time.monotonic)

    def restore(self) -> None:
        """Resume from the state in the folder, if there is one of this training.

        Raises:
            CheckpointError: the state is damaged.
        """
        if self.folder is None:
            return
        state = saved_state.load(_state_file(self.folder, self.run.task), self.run.key)
        if state is not None:
            _restore(self.run, state)

    def save_if_due(self) -> None:
        """Save the state if the last save is long ago, or the training has ended."""
        if self.folder is None:
            return
        is_late = time.monotonic() - self.saved_at >= SAVE_SECONDS
        if not is_late and self.run.step != self.run.total:
            return
        state = _state_of(self.run)
        if self.run.is_main:
            saved_state.save(_state_file(self.folder, self.run.task), state)
        self.saved_at = time.monotonic()


def _state_file(folder: Path, task: str) -> Path:
    return folder / f"{task.replace(' ', '-')}.pt"


def _state_of(run: TrainingRun) -> dict[str, Any]:
    """Return all that a step changes, for :func:`_restore`."""
    return {
        "key": run.key,
        "trained": run.trained.state_dict(),
        "averaged": run.ema.save(),
        "optimizer": run.optimizer.state_dict(),
        "scaler": run.scaler.state_dict(),
        "draws": (run.rng.get_state(), torch.get_rng_state()),
        "epoch": (run.epoch.order, run.epoch.loss_sum, run.epoch.seconds),
        "counts": (run.step, run.collapse_monitor.count, run.history.best_epoch),
        "rows": run.history.rows,
        "ends": (run.history.without_gradient, run.history.stop_reason),
        "best": (run.best_score, run.best_weights),
    }


def _restore(run: TrainingRun, state: dict[str, Any]) -> None:
    """Put a state into a training that has just begun."""
    run.trained.load_state_dict(state["trained"])
    run.ema.restore(state["averaged"])
    run.optimizer.load_state_dict(state["optimizer"])
    if state["scaler"]:
        run.scaler.load_state_dict(state["scaler"])
    generator, global_generator = state["draws"]
    run.rng.set_state(generator)
    torch.set_rng_state(global_generator)
    run.epoch = Epoch(*state["epoch"])
    run.step, run.collapse_monitor.count, run.history.best_epoch = state["counts"]
    run.history.rows = state["rows"]
    run.history.without_gradient, run.history.stop_reason = state["ends"]
    run.best_score, run.best_weights = state["best"]
