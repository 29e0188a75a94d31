"""The one training loop: timm's optimizer and schedule, Accelerate's devices, best epoch kept."""

from collections.abc import Callable
from pathlib import Path

from torch import nn

from robustbench_aigi.detectors import Detector
from robustbench_aigi.progress import Progress, silent
from robustbench_aigi.training import guards
from robustbench_aigi.training.arrays import TrainingImages
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.history import History, Score, StopReason, clean_score, never_stop
from robustbench_aigi.training.log import Log
from robustbench_aigi.training.objectives.base import Objective, own_loss
from robustbench_aigi.training.run_state import StateKeeper
from robustbench_aigi.training.training_run import TrainingRun


def ignore_improvement() -> None:
    """Do nothing when a detector improves."""


def fit(
    detector: Detector,
    train: TrainingImages,
    validation: TrainingImages,
    config: TrainConfig,
    *,
    objective: Objective = own_loss,
    score: Score = clean_score,
    stop_reason: StopReason = never_stop,
    part: nn.Module | None = None,
    progress: Progress = silent,
    task: str = "fit",
    state_folder: Path | None = None,
    log: Log | None = None,
    on_improvement: Callable[[], object] = ignore_improvement,
) -> History:
    """Train a detector in place, and leave it with the weights of its best epoch.

    It ends on the CPU, in evaluation mode. Under ``accelerate launch`` every process takes its
    share of each batch. After a kill, the same call resumes from ``state_folder`` with the same
    images in the same order, and on the CPU ends in the same weights.

    Args:
        detector: changed in place.
        train: training images.
        validation: images that pick the best epoch.
        config: hyper-parameters.
        objective: of the training method.
        score: picks the best epoch.
        stop_reason: ends the training early.
        part: module to train instead of what the detector names; constant predictions are then
            no reason to stop.
        progress: called after each step.
        task: name of the training, in its state, its log and its random draws.
        state_folder: for the state, saved every :data:`~.run_state.SAVE_SECONDS` and at the end.
            Remove it when the trained detector has been saved.
        log: of the steps and epochs.
        on_improvement: called when the detector is in its best state so far.

    Raises:
        DataError: the images are of one class.
        LogitsError: no gradient reaches the weights.
        TrainingDivergedError: the loss became NaN or infinite.
        TrainingCollapsedError: predictions are constant on (nearly) all validation images for a
            third of the epochs in a row (at least three), or in every epoch. A few such epochs at
            the start are usual.
    """
    guards.check_both_classes(training=train, validation=validation)
    run = TrainingRun(detector, train, config, task, part)
    if log is None or not run.is_main:
        log = Log(None)
    keeper = StateKeeper(run, state_folder)
    keeper.restore()
    log.begin(task, run.history.rows, run.step)
    while run.step < run.total and not run.history.stop_reason:
        log.step(run.step + 1, run.advance(objective), run.rate)
        progress(task, run.step, run.total)
        if run.step % run.source.per_epoch == 0:
            run.finish_epoch(validation, score, stop_reason, on_improvement)
            log.epoch(task, run.history.rows[-1], run.step)
        keeper.save_if_due()
    run.end()
    return run.history
