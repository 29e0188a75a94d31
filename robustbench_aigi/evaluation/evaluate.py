"""Every detector under every attack of a suite."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.adequacy.detector_flags import of_detector
from robustbench_aigi.evaluation.adequacy.flags import Flag
from robustbench_aigi.evaluation.adequacy.judge import check, write_flags
from robustbench_aigi.evaluation.adequacy.preflight import Preflight, look_at
from robustbench_aigi.evaluation.batching import set_batches
from robustbench_aigi.evaluation.cell_runner import CellRunner, OutOfMemoryError
from robustbench_aigi.evaluation.cells import CellKey
from robustbench_aigi.evaluation.columns import COLUMN_NAMES, COLUMN_TYPES
from robustbench_aigi.evaluation.detector_cells import compute_cells
from robustbench_aigi.evaluation.matrix_rows import matrix_rows, unavailable_row
from robustbench_aigi.evaluation.run_plan import (
    RunPlan,
    plan_run,
    read_run_plan,
    transfer_rows,
    write_run_plan,
)
from robustbench_aigi.evaluation.shared_images import SharedImageBuilder, SharedImages
from robustbench_aigi.evaluation.speedups import (
    choose_speedups,
    set_channels_last,
    without_speedups,
)
from robustbench_aigi.evaluation.stored_cells import CellOutcome
from robustbench_aigi.executors import (
    IN_PROCESS,
    Executor,
    InProcessExecutor,
    find_unsendable,
    write_unsendable,
)
from robustbench_aigi.outcomes import Unavailable
from robustbench_aigi.progress import Progress, Say, say_nothing, silent


def evaluate(
    detectors: Mapping[str, Detector | Unavailable],
    suite: Suite,
    data: Dataset,
    out: Path,
    *,
    surrogates: Mapping[str, Detector] = MappingProxyType({}),
    keep_images: bool = True,
    speedups: bool = True,
    executor: Executor = IN_PROCESS,
    progress: Progress = silent,
    say: Say = say_nothing,
    identities: Identities | None = None,
) -> pd.DataFrame:
    """Return the matrix in long form: one row per detector, mode, attack and direction.

    Each detector first scores a few images, and what would make its numbers meaningless is reported
    before the run. A detector whose scores depend on the batch is shown its images one by one; one
    whose scores are coarse is attacked by verdicts. A cell that raises becomes a row with the
    status ``error: ...``, and the run continues; its traceback is in its folder.

    Args:
        detectors: by name in the matrix.
        suite: the rows.
        data: test images.
        out: folder of the run, where cells are stored and from which a killed run resumes.
        surrogates: detectors that shared images are made on, besides those evaluated.
        keep_images: store every white-box image in its cell as PNG.
        speedups: let a trial decide for each detector on ``channels_last`` and on gradients in
            bfloat16. Every score that counts is in the detector's own precision.
        executor: who does the work; with one thread per worker the numbers are the same.
        progress: called as images are done.
        say: called with each warning of the preflight.
        identities: fingerprints of the detectors, where the caller has them already.
    """
    run = _Run(detectors, suite, data, out, surrogates, executor, progress, identities)
    run.set_batch_sizes()
    run.look_at_detectors(say)
    run.choose_speedups(wanted=speedups)
    run.write_plan()
    shared = run.build_shared_images()
    # A surrogate may have come to smaller batches meanwhile.
    run.write_plan()
    rows: list[dict[str, object]] = []
    flags: list[Flag] = []
    for name, detector in detectors.items():
        if isinstance(detector, Unavailable):
            rows.append(unavailable_row(name, detector))
            continue
        cells, found = run.evaluate_detector(name, detector, shared, keep_images=keep_images)
        spec = run.plan.detectors[name]
        rows += matrix_rows(name, spec, suite, cells, found, executor)
        flags += found
    write_flags(flags, out)
    return pd.DataFrame(rows, columns=list(COLUMN_NAMES)).astype(COLUMN_TYPES)


class _Run:
    """One evaluation: what all detectors share, and the plan as it stands."""

    plan: RunPlan

    def __init__(
        self,
        detectors: Mapping[str, Detector | Unavailable],
        suite: Suite,
        data: Dataset,
        out: Path,
        surrogates: Mapping[str, Detector],
        executor: Executor,
        progress: Progress,
        identities: Identities | None,
    ) -> None:
        self.detectors = detectors
        self.ready = {name: d for name, d in detectors.items() if isinstance(d, Detector)}
        self.surrogates = {d.card.name: d for d in self.ready.values()} | dict(surrogates)
        self.suite = suite
        self.data = data
        self.out = out
        self.executor = executor
        self.progress = progress
        self.identities = identities or Identities()
        self.looks: dict[str, Preflight] = {}
        self.unsendable: dict[str, str] = {}

    def set_batch_sizes(self) -> None:
        """Set the images per pass: those of an earlier run in this folder, or what fits."""
        every = self.surrogates | self.ready
        set_batches(every.values(), self.data)
        before = read_run_plan(self.out)
        for name, detector in every.items():
            spec = None if before is None else before.detectors.get(name)
            if spec is not None and spec.at_once:
                detector.at_once = spec.at_once

    def look_at_detectors(self, say: Say) -> None:
        """Score a few images with each detector, and report what is wrong with its scores."""
        for name, detector in self.ready.items():
            self.looks[name] = look_at(detector, self.data)
        for name, look in self.looks.items():
            for line in look.warnings:
                say(f"{name}: {line}")

    def choose_speedups(self, *, wanted: bool) -> None:
        """Set ``channels_last`` and ``half_gradients``: as an earlier run of the same detector in
        this folder did, or by a trial.
        """
        before = read_run_plan(self.out)
        for name, detector in self.ready.items():
            spec = None if before is None else before.detectors.get(name)
            if not wanted:
                set_channels_last(detector, wanted=False)
                detector.half_gradients = False
            elif spec is not None and spec.fingerprint == self.identities.of(detector):
                set_channels_last(detector, wanted=spec.channels_last)
                detector.half_gradients = spec.half_gradients
            else:
                choose_speedups(detector, self.data)

    def write_plan(self) -> None:
        """List the cells with the present batch sizes, and write the list."""
        notes = {name: look.warnings for name, look in self.looks.items()}
        self.plan = plan_run(
            self.detectors, self.suite, self.data, self.surrogates, self.identities, notes
        )
        write_run_plan(self.plan, self.out)

    def build_shared_images(self) -> dict[str, SharedImages]:
        """Build the images of the static set and of the transfer matrix."""
        builder = SharedImageBuilder(
            self.suite, self.data, self.surrogates, self.progress, self.executor, self.identities
        )
        by_card = {d.card.name: d for d in self.ready.values()}
        crossed = transfer_rows(self.suite, by_card)
        with without_speedups([*self.surrogates.values(), *self.ready.values()]):
            static = builder.build(self.suite.rows, self.out / "plusplus")
            transfer = replace(builder, surrogates=by_card).build(crossed, self.out / "transfer")
        self.unsendable = find_unsendable(self.executor, self.ready, "it is evaluated")
        write_unsendable(self.unsendable, self.out)
        return {"static": static, "transfer": transfer}

    def evaluate_detector(
        self,
        name: str,
        detector: Detector,
        shared: Mapping[str, SharedImages],
        *,
        keep_images: bool,
    ) -> tuple[dict[CellKey, CellOutcome], list[Flag]]:
        """Return a detector's cells and flags, halving its batches as long as memory runs out."""
        while True:
            try:
                return self._evaluated(name, detector, shared, keep_images=keep_images)
            except OutOfMemoryError:
                detector.at_once //= 2
                self.write_plan()

    def _evaluated(
        self,
        name: str,
        detector: Detector,
        shared: Mapping[str, SharedImages],
        *,
        keep_images: bool,
    ) -> tuple[dict[CellKey, CellOutcome], list[Flag]]:
        specs = self.plan.cells_of(name)
        runner = CellRunner(
            name,
            detector,
            self.out,
            self.progress,
            {spec.key: spec.fingerprint for spec in specs},
            InProcessExecutor(1) if name in self.unsendable else self.executor,
            self.identities,
        )
        every = compute_cells(runner, specs, self.suite, self.data, shared, keep_images=keep_images)
        probes = {attack: table for (mode, attack), table in every.items() if mode == "probe"}
        cells = {key: table for key, table in every.items() if key[0] != "probe"}
        look = self.looks[name]
        flags = check(runner, self.suite, cells, probes)
        flags += of_detector(name, detector, look.batch_shift, look.softmax)
        return cells, sorted(flags)
