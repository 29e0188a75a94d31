"""Train one detector, and write its checkpoint."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from robustbench_aigi.data.suggestions import load_recipe
from robustbench_aigi.detectors import Detector, load_detector, save_detector
from robustbench_aigi.detectors._support.checkpoints.saving import check_restorable
from robustbench_aigi.detectors.base import FRESH_WEIGHTS
from robustbench_aigi.detectors.loading import begun_from
from robustbench_aigi.errors import UserError
from robustbench_aigi.io.locks import exclusive_lock
from robustbench_aigi.pipeline.training_data import TrainingData, load_training_data
from robustbench_aigi.pipeline.training_summary import describe_training_data, training_summary
from robustbench_aigi.progress import Progress, Say, say_nothing, silent
from robustbench_aigi.training import (
    Trained,
    TrainingFiles,
    TrainingJob,
    methods,
    train_detector,
)
from robustbench_aigi.training.plans import DEFAULT_PLAN, TrainingPlan, load_training_plan


def train(
    detector: str,
    dataset: str,
    out: Path,
    *,
    source: str | None = None,
    limit: int | None = None,
    method: str = "plain",
    epochs: int | None = None,
    start: str | None = None,
    config: Mapping[str, Any] = MappingProxyType({}),
    numbers: Mapping[str, Any] = MappingProxyType({}),
    replay: tuple[str, str | None] | None = None,
    convert: bool = False,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> Detector:
    """Train one detector, and write its checkpoint. Rerun after a kill to resume.

    The best checkpoint so far is at ``out`` from the first epoch on. Beside it are a log (CSV, and
    TensorBoard events if that is installed) and, until the end, the state.

    Args:
        detector: a registered name or an address, with arguments as in
            ``timm:resnet18?pretrained=true``; it starts from fresh weights unless ``start`` is
            given.
        dataset: a recipe, or a folder that ``build`` wrote, as the method ``static`` needs.
        out: checkpoint to write (.safetensors).
        source: where the images are; None where the recipe says.
        limit: maximum number of images per split.
        method: registered name of a training method, or ``module:Class``.
        epochs: passes over the training images; None takes the number of the recipe's plan.
        start: checkpoint to fine-tune, the name of one that ships, or ``cifake`` for the
            detector's own that ships.
        config: arguments of the detector.
        numbers: fields of :class:`~robustbench_aigi.training.TrainConfig` that replace the preset
            ones.
        replay: for the method ``adapt``, what the detector was trained on: a recipe and its source.
        convert: as in :func:`~robustbench_aigi.data.load_data`.
        progress: called after each step.
        say: called with each line for the user.

    Raises:
        UserError: the request cannot be met, or the training failed; the message says what to
            change.
    """
    plan = _training_plan(dataset)
    detector, start, config = begun_from(detector, start, config)
    job = TrainingJob(
        detector=detector,
        method=method,
        epochs=epochs or plan.epochs_for(detector, method),
        config=dict(config),
        numbers=plan.train.numbers | dict(numbers),
    )
    _check_replay(method, has_replay=replay is not None, has_start=start is not None)
    begin = _load_start(detector, start, config, say)  # first, so that a wrong name fails at once
    skipped = out.with_suffix(".skipped.csv")
    with exclusive_lock(out):
        data = load_training_data(dataset, source, limit, skipped, progress, say, convert)
        if replay:
            old = load_training_data(*replay, limit, skipped, progress, say, convert)
            data = data.with_replay_of(old)
        data = data.cut_for(job, begin.card.input_size)
        if data.policy is not None:
            say(f"images stay on disk, cut to {data.policy}")
        trained = _train_to(out, job, data, begin if start else None, progress)
    say(training_summary(trained))
    return trained.detector


def _train_to(
    out: Path, job: TrainingJob, data: TrainingData, start: Detector | None, progress: Progress
) -> Trained:
    """Train a detector, and write its checkpoint to ``out``."""
    state = out.with_suffix(".training")
    trained = train_detector(
        job,
        data.train,
        data.validation,
        start=start,
        replay_validation=data.replay_validation,
        trained_on=describe_training_data(data.name, len(data.train.labels), start),
        seen=data.seen,
        progress=progress,
        files=TrainingFiles(state, out.with_suffix(".csv"), lambda best: save_detector(best, out)),
    )
    save_detector(trained.detector, out)
    shutil.rmtree(state, ignore_errors=True)
    return trained


def _training_plan(dataset: str) -> TrainingPlan:
    """Return the plan of a recipe; the default one for a folder that ``build`` wrote."""
    is_built = Path(dataset, "manifest.parquet").is_file()
    return load_training_plan(DEFAULT_PLAN if is_built else load_recipe(dataset).training_plan)


def _load_start(detector: str, start: str | None, config: Mapping[str, Any], say: Say) -> Detector:
    """Load what the training starts from, and report what is special about it."""
    begin = load_detector(detector, start, **config)
    for note in begin.notes:
        say(note)
    check_restorable(begin)
    if start and begin.card.weights == FRESH_WEIGHTS:
        say(
            f"{start} brings no last layer of one or two classes: that of {begin.card.name} is"
            " fresh"
        )
    return begin


def _check_replay(method: str, *, has_replay: bool, has_start: bool) -> None:
    needs_replay = methods.get(method).needs_replay
    if needs_replay == has_replay and (has_start or not needs_replay):
        return
    needing = [name for name in methods.names() if methods.get(name).needs_replay]
    raise UserError(
        f"the method {' or '.join(needing)}, and no other, needs a trained detector and what it was"
        f" trained on. Write --method {needing[0]} --start CHECKPOINT --data NEW --rehearse OLD."
    )
