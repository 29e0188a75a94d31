"""One training loop for every method: timm's optimizer and schedule, Accelerate's devices, best
epoch by validation.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import nn

from robustbench_aigi.detectors import Detector
from robustbench_aigi.progress import Progress, silent
from robustbench_aigi.training import guards
from robustbench_aigi.training.arrays import Arrays, balanced_accuracy
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.log import Log
from robustbench_aigi.training.objectives.base import Objective, own_loss
from robustbench_aigi.training.training_run import History, Score, TrainingRun

KEEP_SECONDS = 60
"""Least time between two writings of a training's state, which may be a hundred megabytes."""


def clean_score(detector: Detector, data: Arrays) -> dict[str, float]:
    """Balanced accuracy on clean images."""
    return {"score": balanced_accuracy(detector, data)}


def fit(
    detector: Detector,
    train: Arrays,
    validation: Arrays,
    plan: TrainConfig,
    *,
    objective: Objective = own_loss,
    score: Score = clean_score,
    alarm: Callable[[Mapping[str, float]], str] = lambda row: "",
    part: nn.Module | None = None,
    progress: Progress = silent,
    task: str = "fit",
    kept: Path | None = None,
    log: Log | None = None,
    improved: Callable[[], object] = lambda: None,
) -> History:
    """Train in place; the detector ends with the weights of its best epoch, on the CPU, in
    evaluation mode.

    Under ``accelerate launch`` every process takes its share of each batch. Killed, the same call
    goes on from ``kept`` with the same images in the same order, and on the CPU ends in the same
    weights.

    Args:
        objective: the training method. score: what picks the best epoch.
        alarm: given an epoch's row, a reason to stop, or "".
        part: what to train in the place of what the detector names; its verdicts then count for
            nothing.
        kept: a folder for the state, written at most every :data:`KEEP_SECONDS` and at the end.
            Remove it when what was trained is safe.
        improved: called with the detector in its best state so far.

    Raises:
        DataError: images of one class. LogitsError: no gradient comes to the weights.
            TrainingDivergedError: the loss is no number.
        TrainingCollapsedError: the detector gives one answer for (nearly) every validation image
            for a third of the epochs in a row (at least three), or in every epoch. Early on this is
            usual and mends itself.
    """
    guards.both_classes(training=train, validation=validation)
    run = TrainingRun(detector, train, plan, task, part)
    if log is None or not run.first:
        log = Log(None)
    if kept is not None:
        run.take_up(kept)
    log.begin(task, run.history.rows, run.step)
    written = time.monotonic()
    while run.step < run.total and not run.history.stopped:
        log.step(run.step + 1, run.advance(objective), run.rate)
        progress(task, run.step, run.total)
        if run.step % run.per_epoch == 0:
            run.judge(validation, score, alarm, improved)
            log.epoch(task, run.history.rows[-1], run.step)
        if kept is not None and (
            time.monotonic() - written >= KEEP_SECONDS or run.step == run.total
        ):
            run.keep(kept)
            written = time.monotonic()
    run.end()
    return run.history
