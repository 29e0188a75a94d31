"""The grid: every detector under every attack of a suite, static beside white-box."""

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.adequacy.detector_flags import of_detector
from robustbench_aigi.evaluation.adequacy.flags import Flag
from robustbench_aigi.evaluation.adequacy.judge import check, write_flags
from robustbench_aigi.evaluation.adequacy.preflight import Preflight, examine
from robustbench_aigi.evaluation.adequacy.probes import probe_jobs
from robustbench_aigi.evaluation.aimed import aimed, controls, not_aimed
from robustbench_aigi.evaluation.batching import set_batches
from robustbench_aigi.evaluation.cell_runner import CellJob, CellRunner, OutOfMemoryError
from robustbench_aigi.evaluation.cells import Cell, Failure, Table, capture_and_log, capture_failure
from robustbench_aigi.evaluation.examples.grad_cam import (
    GradCamWorker,
    ImagePair,
    mapped,
    pairs_of,
    write_maps,
)
from robustbench_aigi.evaluation.matrix_rows import matrix_rows
from robustbench_aigi.evaluation.metrics import COLUMNS, TYPES
from robustbench_aigi.evaluation.run_plan import (
    RunPlan,
    aimed_rows,
    limited,
    not_given,
    plan_run,
    read_run_plan,
    transferred,
    write_run_plan,
)
from robustbench_aigi.evaluation.shard_work import attacked, scored
from robustbench_aigi.executors import (
    IN_PROCESS,
    Executor,
    InProcessExecutor,
    find_unsendable,
    write_unsendable,
)
from robustbench_aigi.progress import Progress, Say, say_nothing, silent


def evaluate(
    detectors: Mapping[str, Detector | str],
    suite: Suite,
    data: Dataset,
    out: Path,
    *,
    surrogates: Mapping[str, Detector] = MappingProxyType({}),
    keep_images: bool = True,
    executor: Executor = IN_PROCESS,
    progress: Progress = silent,
    say: Say = say_nothing,
    identities: Identities | None = None,
) -> pd.DataFrame:
    """Return the matrix in long form, a row per detector, mode, attack and direction; cells are
    kept under ``out``.

    Each detector first scores a few images: what would make its numbers meaningless is said before
    the run. One whose scores depend on the batch is shown its images one by one, one whose scores
    are coarse is attacked by verdicts.

    A cell that raises becomes a row with the status ``error: ...`` and no numbers, and the run goes
    on; its traceback is in its folder. What speaks against trusting the numbers is written to
    ``adequacy.json``.

    Args:
        detectors: by name in the matrix. A text in a detector's place says why it is unavailable,
            and becomes its row.
        data: test images.
        surrogates: makers of the static set, besides the detectors themselves. A static cell whose
            surrogate is neither is ``unavailable``.
        keep_images: store every white-box image in its cell as PNG.
        executor: who does the work; at equal threads a worker the numbers are the same.
        say: gets what the first look at each detector found, a line each.
        identities: the detectors' and the surrogates', where the caller has them already.
    """
    identities = identities or Identities()
    ready = {d.card.name: d for d in detectors.values() if isinstance(d, Detector)}
    makers = ready | dict(surrogates)
    _size(makers | dict(detectors), data, read_run_plan(out))
    looks = _looked_at(detectors, data, say)
    notes = {name: look.warnings for name, look in looks.items()}
    write_run_plan(plan_run(detectors, suite, data, makers, identities, notes), out)
    by_whom = (progress, executor, identities)
    static = _static(suite.rows, suite, data, makers, out / "plusplus", *by_whom)
    transfer = _static(transferred(suite, ready), suite, data, ready, out / "transfer", *by_whom)
    alone = find_unsendable(
        executor, {n: d for n, d in detectors.items() if isinstance(d, Detector)}, "it is evaluated"
    )
    write_unsendable(alone, out)
    grid = plan_run(
        detectors, suite, data, makers, identities, notes
    )  # a surrogate may have come to smaller batches
    write_run_plan(grid, out)
    rows: list[dict[str, object]] = []
    flags: list[Flag] = []
    for name, detector in detectors.items():
        if isinstance(detector, str):
            rows.append({"detector": name, "status": f"unavailable: {detector}"})
            continue
        while True:
            where = InProcessExecutor(1) if name in alone else executor
            bench = CellRunner(name, detector, out, progress, grid.marks(name), where, identities)
            try:
                cells, found = _judged(bench, suite, data, (static, transfer), keep_images)
                break
            except OutOfMemoryError:
                detector.at_once //= 2
                grid = plan_run(detectors, suite, data, makers, identities, notes)
                write_run_plan(grid, out)
        found = sorted(
            [*found, *of_detector(name, detector, looks[name].batch_shift, looks[name].softmax)]
        )
        card, replaced = detector.card, grid.detectors[name].replaced
        rows += matrix_rows(
            name, detector.threshold, card.seen, suite, cells, found, replaced, executor
        )
        flags += found
    write_flags(flags, out)
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(TYPES)


Shared = Mapping[str, Dataset | str]
"""Images that all detectors are shown, by row, or the status of a row that has none."""


def _judged(
    bench: CellRunner, suite: Suite, data: Dataset, shared: tuple[Shared, Shared], keep_images: bool
) -> tuple[dict[tuple[str, str], Table], list[Flag]]:
    """A detector's cells, and what speaks against them. Raises ``OutOfMemoryError``."""
    made = _cells(bench, suite, data, *shared, keep_images)
    probe_tables = {name: table for (mode, name), table in made.items() if mode == "probe"}
    cells = {key: table for key, table in made.items() if key[0] != "probe"}
    return cells, check(bench, suite, cells, probe_tables)


def _size(detectors: Mapping[str, Detector | str], data: Dataset, before: RunPlan | None) -> None:
    """Set how many images each detector is shown at once: what an earlier run here came to, or what
    may be held.
    """
    ready = {name: d for name, d in detectors.items() if isinstance(d, Detector)}
    set_batches(ready.values(), data)
    for name, detector in ready.items():
        known = before.detectors.get(name) if before is not None else None
        if known is not None and known.at_once:
            detector.at_once = known.at_once


def _looked_at(
    detectors: Mapping[str, Detector | str], data: Dataset, say: Say
) -> dict[str, Preflight]:
    """What a few images tell about each detector, said line by line."""
    looks = {name: _prepared(d, data) for name, d in detectors.items() if isinstance(d, Detector)}
    for name, look in looks.items():
        for line in look.warnings:
            say(f"{name}: {line}")
    return looks


def _prepared(detector: Detector, data: Dataset) -> Preflight:
    """Look at a detector, and take what is found into account: on its card, and in how many images
    it is shown.
    """
    look = examine(detector, data)
    facts = {"stochastic": look.at_random, "score_step": look.score_step}
    detector.card = detector.card.model_copy(update=facts)
    if look.batch_shift:
        detector.at_once = 1
    return look


def _static(
    rows: Sequence[SuiteRow],
    suite: Suite,
    data: Dataset,
    makers: Mapping[str, Detector],
    folder: Path,
    progress: Progress,
    executor: Executor,
    identities: Identities,
) -> Shared:
    """The shared images of every row, or the status of a row that has none."""

    def build(rows: Sequence[SuiteRow]) -> None:
        part = Part(data, all_rows=True, samples=0)
        some = suite.model_copy(update={"rows": tuple(rows)})
        build_plusplus({"test": part}, some, makers, folder, progress, executor, identities)

    lost: dict[str, str] = {}
    shared = [row for row in rows if row.shared]
    for row in shared:
        if row.surrogate is not None and row.surrogate not in makers:
            lost[row.id] = not_given(row)
    possible = [row for row in shared if row.id not in lost]
    shutil.rmtree(folder / "errors", ignore_errors=True)
    found = capture_failure(folder.name, partial(build, possible)) if rows else None
    while (
        isinstance(found, Failure)
        and found.memory
        and any(maker.at_once > 1 for maker in makers.values())
    ):
        for maker in makers.values():
            maker.at_once = max(1, maker.at_once // 2)
        found = capture_failure(folder.name, partial(build, possible))
    if isinstance(found, Failure):
        for row in possible:  # one at a time, to find which
            if status := capture_and_log(
                row.id, partial(build, [row]), folder / "errors" / f"{row.id}.txt"
            ):
                lost[row.id] = status
    if rows:
        build(
            [row for row in shared if row.id not in lost]
        )  # of no row, the clean images: the gallery shows them
    return {row.id: lost.get(row.id) or load_plusplus(folder, "test", row.id) for row in shared}


def _cells(
    bench: CellRunner,
    suite: Suite,
    data: Dataset,
    static: Shared,
    transfer: Shared,
    keep_images: bool,
) -> dict[tuple[str, str], Table]:
    """Every cell of a detector by mode and attack, probes among them.

    A change that asks no detector has no white-box cell of its own. What takes longest is done
    first, so that no worker is left alone with it at the end.
    """
    detector = bench.detector
    cells = bench.tables([CellJob("clean", "clean", data, scored(detector, None))])
    clean = cells["clean", "clean"]
    shared = {("static", name): images for name, images in static.items()}
    shared |= {("transfer", name): images for name, images in transfer.items()}
    lost = {
        ("white-box", row.id): not_aimed(row, detector)
        for row in aimed_rows(suite)
        if not_aimed(row, detector)
    }
    asked = [row for row in aimed_rows(suite) if ("white-box", row.id) not in lost] + controls(
        suite, detector
    )
    if isinstance(clean, str):
        keys = [*shared, *(("white-box", row.id) for row in asked)]
        because = "not tried, because the clean images could not be scored"
        return cells | {(mode, name): f"error: {name}: {because}" for mode, name in keys} | lost
    originals = dict(zip(clean["id"], clean["logit"], strict=True))
    there = {key: images for key, images in shared.items() if isinstance(images, Dataset)}
    jobs = probe_jobs(detector, suite, data)
    for row in asked:
        attack, full = aimed(row, detector), row.strength == "full"
        work = attacked(detector, attack, suite.seed, originals, keep_images=keep_images, full=full)
        key = (row.model_dump(), repr(attack), suite.seed, keep_images)
        jobs.append(CellJob("white-box", row.id, limited(data, row), work, key))
    jobs += [
        CellJob(*key, images, scored(detector, originals), (images.key,))
        for key, images in there.items()
    ]
    made = bench.tables(jobs)
    if keep_images:
        whole = [job for job in jobs if not isinstance(made[job.mode, job.attack], str)]
        _add_maps(bench, [job for job in whole if job.mode == "white-box"])
    whole_order = [
        *shared,
        *(("white-box", row.id) for row in [*aimed_rows(suite), *controls(suite, detector)]),
    ]
    whole_order += [key for key in made if key[0] == "probe"]
    missing = {key: str(images) for key, images in shared.items()} | lost
    return cells | {key: made[key] if key in made else missing[key] for key in whole_order}


def _add_maps(bench: CellRunner, jobs: Sequence[CellJob]) -> None:
    """Work for the executor, a piece a cell; where it raises, a note is all that is left."""
    places = [(job, Cell(bench.name, job.mode, job.attack).folder(bench.out)) for job in jobs]
    left = [(job, folder) for job, folder in places if not mapped(folder)]
    maps, threshold = GradCamWorker(bench.detector), bench.detector.threshold

    def map_one(found: tuple[str, list[ImagePair] | Failure]) -> pd.DataFrame | Failure:
        attack, pairs = found
        return (
            pairs if isinstance(pairs, Failure) else capture_failure(attack, partial(maps, pairs))
        )

    asked = (
        (job.attack, capture_failure(job.attack, partial(pairs_of, job.data, folder, threshold)))
        for job, folder in left
    )
    for (_, folder), table in zip(left, bench.executor.map_ordered(map_one, asked), strict=True):
        (folder / "maps-error.txt").unlink(missing_ok=True)
        if isinstance(table, Failure):
            table.kept(folder / "maps-error.txt")
        else:
            write_maps(table, folder)
