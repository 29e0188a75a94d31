"""All cells of one detector: those of the plan, and the probes of its adequacy checks."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.evaluation.adequacy.probes import probe_jobs
from robustbench_aigi.evaluation.aimed import aimed
from robustbench_aigi.evaluation.cell_runner import CellJob, CellRunner
from robustbench_aigi.evaluation.cells import CellKey, capture_failure
from robustbench_aigi.evaluation.examples.grad_cam import (
    GradCamWorker,
    ImagePair,
    mapped,
    pairs_of,
    write_maps,
)
from robustbench_aigi.evaluation.run_plan import CellSpec, limited
from robustbench_aigi.evaluation.shard_work import attacked, scored
from robustbench_aigi.evaluation.shared_images import SharedImages
from robustbench_aigi.evaluation.speedups import gradient_format
from robustbench_aigi.evaluation.stored_cells import CellOutcome, CleanLogits, StoredCell
from robustbench_aigi.outcomes import Absent, Failed, Unavailable

NOT_SCORED = "not tried, because the clean images could not be scored"


def compute_cells(
    runner: CellRunner,
    specs: Sequence[CellSpec],
    suite: Suite,
    data: Dataset,
    shared: Mapping[str, SharedImages],
    *,
    keep_images: bool,
) -> dict[CellKey, CellOutcome]:
    """Return the cells of a detector, in the order of the plan, then its probes.

    Args:
        runner: of the detector.
        specs: its cells of the plan, the clean one first.
        suite: the rows.
        data: the clean images.
        shared: images by mode (``static``, ``transfer``) and row.
        keep_images: whether attacked images are stored in the cells, and explained by Grad-CAM.

    Raises:
        OutOfMemoryError: fewer images at once may fit.
    """
    clean_job = CellJob("clean", "clean", data, scored(runner.detector))
    cells = runner.compute([clean_job])
    clean = cells["clean", "clean"]
    others = [spec for spec in specs if spec.mode != "clean"]
    if isinstance(clean, Absent):
        return cells | {spec.key: _not_tried(spec) for spec in others}
    clean_logits = CleanLogits.read(clean)
    absent = {spec.key: why for spec in others if (why := _why_absent(spec, shared)) is not None}
    possible = [spec for spec in others if spec.key not in absent]
    jobs = probe_jobs(runner.detector, suite, data)
    own = [
        _attack_job(runner, spec, suite, data, clean_logits, keep_images=keep_images)
        for spec in possible
        if spec.mode == "white-box"
    ]
    # What takes longest comes first, so that no worker is left alone with it at the end.
    jobs += own
    for spec in possible:
        if spec.mode != "white-box":
            images = shared[spec.mode][spec.attack]
            assert isinstance(images, Dataset)
            jobs.append(
                CellJob(
                    spec.mode,
                    spec.attack,
                    images,
                    scored(runner.detector),
                    (images.key,),
                    clean=clean_logits.of_sources(),
                )
            )
    tables = runner.compute(jobs)
    if keep_images:
        done = [job for job in own if isinstance(tables[job.mode, job.attack], StoredCell)]
        _explain(runner, done)
    cells |= {
        spec.key: tables[spec.key] if spec.key in tables else absent[spec.key] for spec in others
    }
    return cells | {key: table for key, table in tables.items() if key[0] == "probe"}


def _not_tried(spec: CellSpec) -> Unavailable | Failed:
    if spec.unavailable is not None and spec.mode == "white-box":
        return Unavailable(spec.unavailable)
    return Failed(f"{spec.attack}: {NOT_SCORED}")


def _why_absent(spec: CellSpec, shared: Mapping[str, SharedImages]) -> Unavailable | Failed | None:
    if spec.unavailable is not None:
        return Unavailable(spec.unavailable)
    if spec.mode == "white-box":
        return None
    images = shared[spec.mode][spec.attack]
    return None if isinstance(images, Dataset) else images


def _attack_job(
    runner: CellRunner,
    spec: CellSpec,
    suite: Suite,
    data: Dataset,
    clean_logits: CleanLogits,
    *,
    keep_images: bool,
) -> CellJob:
    row = spec.row
    assert row is not None
    attack = aimed(row, runner.detector)
    work = attacked(
        runner.detector,
        attack,
        suite.seed,
        keep_images=keep_images,
        full=row.strength == "full",
    )
    depends_on = (row.content(), repr(attack), suite.seed, keep_images)
    gradients = gradient_format(runner.detector, attack)
    images = limited(data, row)
    return CellJob(
        "white-box", spec.attack, images, work, depends_on, gradients, clean=clean_logits
    )


def _explain(runner: CellRunner, jobs: Sequence[CellJob]) -> None:
    """Store Grad-CAM maps of cells. Where that raises, a log is all that is left."""
    left = [
        (job, folder) for job in jobs if not mapped(folder := runner.folder(job.mode, job.attack))
    ]
    worker = GradCamWorker(runner.detector)
    threshold = runner.detector.threshold

    def map_one(found: tuple[str, list[ImagePair] | Failed]) -> pd.DataFrame | Failed:
        attack, pairs = found
        if isinstance(pairs, Failed):
            return pairs
        return capture_failure(attack, partial(worker, pairs))

    asked = (
        (job.attack, capture_failure(job.attack, partial(pairs_of, job.data, folder, threshold)))
        for job, folder in left
    )
    for (_, folder), table in zip(left, runner.executor.map_ordered(map_one, asked), strict=True):
        log = folder / "maps-error.txt"
        log.unlink(missing_ok=True)
        if isinstance(table, Failed):
            table.write_log(log)
        else:
            write_maps(table, folder)
