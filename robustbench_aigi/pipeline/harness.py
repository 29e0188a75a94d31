"""The main job: read, fit, build the `++` set, fine-tune against attacks, evaluate, report. Every
step resumes.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from robustbench_aigi.attacks import Suite, load_suite
from robustbench_aigi.data import Dataset, describe_counts, load_data
from robustbench_aigi.data.sources.splits import SPLIT_ORDER
from robustbench_aigi.data.suggestions import load_recipe
from robustbench_aigi.detectors import Detector, load_detector, load_trained, save_detector
from robustbench_aigi.detectors._support.addresses.address import Address
from robustbench_aigi.detectors._support.checkpoints.saving import check_restorable
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.detectors.base import FRESH_WEIGHTS
from robustbench_aigi.detectors.loading import addresses_of, begun_from
from robustbench_aigi.errors import UnavailableError, UserError
from robustbench_aigi.evaluation import costs
from robustbench_aigi.evaluation import evaluate as evaluate_grid
from robustbench_aigi.evaluation.provenance import write_provenance
from robustbench_aigi.evaluation.remote_costs import remote_notice
from robustbench_aigi.executors import IN_PROCESS, Executor
from robustbench_aigi.io.files import describe_write_errors
from robustbench_aigi.io.locks import exclusive_lock
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.pipeline.training_stages import (
    attack_of,
    course_of,
    epochs_of,
    fine_tune,
    fit_plain,
    load_training_data,
    told,
    trained_on,
    training_on,
)
from robustbench_aigi.progress import Progress, Say, say_nothing, silent
from robustbench_aigi.report import Matrix, RunResults, write_report
from robustbench_aigi.training import Files, TrainingJob, train_detector


def run(
    dataset: str,
    out: Path,
    *,
    source: str | None = None,
    limit: int | None = None,
    attacks: str = "quick",
    convert: bool = False,
    executor: Executor = IN_PROCESS,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> Matrix:
    """Do the whole job in ``out``; repeating the call goes on where a killed one stopped.

    Raises:
        UserError: with what to type next; nothing already done is lost.
    """
    suite = load_suite(attacks)
    recipe = load_recipe(dataset)
    with exclusive_lock(out):
        data = load_data(recipe, source, SPLIT_ORDER, limit, out / "skipped.csv", progress, convert)
        say(describe_counts(data, out / "skipped.csv"))
        data.manifest.to_parquet(out / "data.parquet", index=False)
        fitted = fit_plain(recipe, data, out / "detectors", progress, say)
        makers = {
            name: d
            for name, d in fitted.items()
            if isinstance(d, Detector) and name in suite.surrogates
        }
        tuned = fine_tune(recipe, suite, makers, fitted, data, out, progress, say)
        return evaluate_named(
            fitted | tuned,
            suite,
            data.split("test"),
            out,
            executor=executor,
            progress=progress,
            say=say,
        )


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
    rehearse: tuple[str, str | None] | None = None,
    convert: bool = False,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> Detector:
    """Train one detector and write its checkpoint to ``out`` (.safetensors); repeated after a kill,
    it goes on.

    The best checkpoint so far is at ``out`` from its first epoch on; beside it are a log (CSV, and
    TensorBoard's events if that is installed) and, until the end, the state.

    Args:
        detector: a registered name or an address, with arguments as in
            ``timm:resnet18?pretrained=true``; it begins with fresh weights unless there is a
            ``start``.
        start: a checkpoint to fine-tune, the name of one that ships, or ``cifake`` for the
            detector's own that ships.
        config: arguments of the detector. numbers: of the training, in the place of the usual ones;
            see ``TrainConfig``.
        dataset: a recipe, or a folder that ``build`` wrote; the method ``static`` wants the latter.
        rehearse: for the method ``adapt``, what the detector was trained on: a recipe and its
            source.
        convert: as in :func:`~robustbench_aigi.data.load_data`.
    """
    own, (detector, start, config) = training_on(dataset), begun_from(detector, start, config)
    made = TrainingJob(
        detector=detector,
        method=method,
        epochs=epochs or epochs_of(own, detector, method),
        config=dict(config),
        numbers=attack_of(own) | dict(numbers),
    )
    if (method == "adapt") != (rehearse is not None) or (method == "adapt" and start is None):
        raise UserError(
            "the method adapt, and it alone, wants what the detector was trained on. Write --method"
            " adapt --start CHECKPOINT --data NEW --rehearse OLD."
        )
    begin = load_detector(
        detector, start, **config
    )  # here, so that a wrong name is told before the data is read
    for note in begin.notes:
        say(note)
    check_restorable(begin)
    if start and begin.card.weights == FRESH_WEIGHTS:
        say(
            f"{start} brings no last layer of one or two classes: that of {begin.card.name} is"
            " fresh"
        )
    skipped, state = out.with_suffix(".skipped.csv"), out.with_suffix(".training")
    with exclusive_lock(out):
        lesson = load_training_data(dataset, source, limit, skipped, progress, say, convert)
        course = course_of(
            lesson,
            load_training_data(*rehearse, limit, skipped, progress, say, convert)
            if rehearse
            else None,
        )
        fitted = begin if start else None
        trained, history = train_detector(
            made,
            course.train,
            course.validation,
            start=fitted,
            known=course.known,
            trained_on=trained_on(course.name, len(course.train.labels), fitted),
            seen=course.seen,
            progress=progress,
            files=Files(state, out.with_suffix(".csv"), lambda best: save_detector(best, out)),
        )
        save_detector(trained, out)
        shutil.rmtree(state, ignore_errors=True)
    say(told(trained, history))
    return trained


def evaluate(
    detectors: Sequence[Detector | str | Path],
    attacks: str | Suite,
    data: Dataset,
    out: str | Path,
    *,
    surrogates: Mapping[str, Detector] = MappingProxyType({}),
    executor: Executor = IN_PROCESS,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> Matrix:
    """Attack every detector with every row of a suite and write the matrix and the report to
    ``out``.

    Args:
        detectors: detectors, or addresses as a command takes them: names that ship, checkpoints,
            ``hf:REPO``, ...; one that is out of reach becomes an ``unavailable`` row.
        attacks: a suite, or its name or path.
        data: the images to attack, such as ``load_data("mini", split="test")``.
        surrogates: makers of shared images by name, besides the detectors themselves.
        executor: who does the work, such as ``PoolExecutor(2)`` of ``robustbench_aigi.executors``.
        say: called with each note, such as why results are not reused, or what is sent to other
            machines.
    """
    writable(Path(out))
    suite = load_suite(attacks) if isinstance(attacks, str) else attacks.checked()
    ready = named(detectors)
    return evaluate_named(
        ready,
        suite,
        data,
        Path(out),
        surrogates=surrogates,
        executor=executor,
        progress=progress,
        say=say,
    )


def evaluate_named(
    detectors: Mapping[str, Detector | Unavailable],
    suite: Suite,
    data: Dataset,
    out: Path,
    *,
    surrogates: Mapping[str, Detector] = MappingProxyType({}),
    executor: Executor = IN_PROCESS,
    progress: Progress = silent,
    say: Say = say_nothing,
) -> Matrix:
    """:func:`evaluate` for what :func:`named` gave, so that a wrong name is told before the data is
    read.
    """
    for line in remote_notice(detectors, suite, data, surrogates):
        say(line)
    with exclusive_lock(out):
        identities, every = Identities(), dict(surrogates) | dict(detectors)
        for note in [*fresh_notes(every), *identities.notes(every)]:
            say(note)
        write_provenance(out, detectors, surrogates, suite, data, identities)
        rows = evaluate_grid(
            detectors,
            suite,
            data,
            out,
            surrogates=surrogates,
            executor=executor,
            progress=progress,
            identities=identities,
            say=say,
        )
        matrix = Matrix(rows)
        write_report(RunResults.of(out, matrix), out)
    for line in (
        note for d in detectors.values() if isinstance(d, Detector) for note in d.answer_notes
    ):
        say(line)
    return matrix


def plan(
    detectors: Sequence[Detector | str | Path],
    attacks: str | Suite,
    dataset: str,
    source: str | None = None,
    limit: int | None = None,
    progress: Progress = silent,
    say: Say = say_nothing,
    convert: bool = False,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """What :func:`evaluate` will take, a row per cell, and the bytes that each detector's passes
    hold.

    Raises:
        UnavailableError: no detector is within reach. One of several that is not is reported to
            ``say``.
    """
    suite = load_suite(attacks) if isinstance(attacks, str) else attacks.checked()
    loaded = named(detectors)
    ready = {name: d for name, d in loaded.items() if isinstance(d, Detector)}
    reasons = [
        f"{name} is not in the plan: {why.reason}"
        for name, why in loaded.items()
        if isinstance(why, Unavailable)
    ]
    if not ready:
        raise UnavailableError(
            " ".join(reasons) or "no detector to plan for. Name one, as for evaluate."
        )
    for reason in reasons:
        say(reason)
    data = load_data(dataset, source, "test", limit, progress=progress, convert=convert)
    return costs.estimate(ready, suite, data)


def named(detectors: Sequence[Detector | str | Path]) -> dict[str, Detector | Unavailable]:
    """Load trained detectors by name; in the place of one that is out of reach stands the reason.

    A text means what it means to a command: see :func:`load_trained`; ``FILE.toml`` stands for all
        that it lists.
    """
    loaded: dict[str, Detector | Unavailable] = {}
    for given in detectors:
        for one in [given] if isinstance(given, Detector) else addresses_of(str(given)):
            name, ready = _ready(one)
            if name in loaded:
                raise UserError(
                    f"two detectors are called {name}. Give one as NEW=CHECKPOINT or wrap(...,"
                    " name=NEW)."
                )
            loaded[name] = ready
    return loaded


def _ready(given: Detector | Address) -> tuple[str, Detector | Unavailable]:
    """A detector and its name, or why it is out of reach and how it was asked for."""
    if isinstance(given, Detector):
        return given.card.name, given
    try:
        ready = load_trained(given)
    except UnavailableError as error:
        return given.alias or str(given), Unavailable(str(error))
    return ready.card.name, ready


def fresh_notes(detectors: Mapping[str, Detector | Unavailable]) -> list[str]:
    """A warning for each detector of which nothing was trained."""
    fresh = [
        name
        for name, d in detectors.items()
        if isinstance(d, Detector) and d.card.weights == FRESH_WEIGHTS
    ]
    return [
        f"{name} has fresh weights: nothing in it was trained, and its numbers are those of chance"
        for name in fresh
    ]


def writable(out: Path) -> None:
    """Make a folder, and raise ``WriteError`` if nothing can be written there."""
    with describe_write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        probe = out / f".{os.getpid()}.tmp"
        probe.write_text("")
        probe.unlink()
