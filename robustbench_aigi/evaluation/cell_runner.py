"""The cells of one detector, computed shard by shard by an executor and written as they arrive."""

import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.cells import (
    CELL_SCHEMA,
    ERROR_FILE,
    SHARD_SIZE,
    Cell,
    CellContents,
    CellKey,
    GradientFormat,
    Work,
    capture_failure,
    encode_shard,
    key_of,
    note_time,
    write_contents,
)
from robustbench_aigi.evaluation.speedups import layout_key
from robustbench_aigi.evaluation.stored_cells import CellOutcome, CleanLogits, StoredCell
from robustbench_aigi.executors import IN_PROCESS, Executor
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.io.hashing import digest
from robustbench_aigi.outcomes import Failed
from robustbench_aigi.progress import Progress


class CellJob(NamedTuple):
    """A cell to compute.

    Attributes:
        mode, attack: which cell of the detector.
        data: its images.
        work: turns a shard of them into a table.
        depends_on: all that the table depends on besides detector and images.
        gradients: format of an attack's gradients; None for the detector's own.
        clean: logits of the clean images, which each shard's work is given; None if it asks.
    """

    mode: str
    attack: str
    data: Dataset
    work: Work
    depends_on: tuple[object, ...] = ()
    gradients: GradientFormat | None = None
    clean: CleanLogits | None = None


class OutOfMemoryError(Exception):
    """Memory ran out, and fewer images at once may fit."""


class ShardTask(NamedTuple):
    """A shard of a job.

    Attributes:
        job: the job's place in the list.
        number: of the shard.
        shard: its images.
        key: of the shard's table.
        clean: the clean logit of each row; None if the job has none.
    """

    job: int
    number: int
    shard: Dataset
    key: str
    clean: list[float] | None = None


class ShardResult(NamedTuple):
    """The file of a shard's table and the seconds it took."""

    content: bytes
    seconds: float


@dataclass(frozen=True)
class Compute:
    """What workers hold: for each job the name of its attack, and its work."""

    works: Sequence[tuple[str, Work]]

    def __call__(self, task: ShardTask) -> ShardResult | Failed:
        """Do a task. What it raises is a result too, because other cells do not depend on it."""
        attack, work = self.works[task.job]
        began = time.monotonic()
        known = () if task.clean is None else (task.clean,)
        content = capture_failure(attack, lambda: encode_shard(work(task.shard, *known), task.key))
        if isinstance(content, Failed):
            return content
        return ShardResult(content, time.monotonic() - began)


@dataclass(frozen=True)
class CellRunner:
    """Computes the cells of one detector.

    Attributes:
        name: of the detector in the matrix.
        detector: whose cells they are.
        out: folder of the run.
        progress: called after each shard.
        fingerprints: of the run's plan, by mode and attack.
        executor: who computes.
        identities: fingerprints of the run's detectors.
    """

    name: str
    detector: Detector
    out: Path
    progress: Progress
    fingerprints: Mapping[CellKey, str] = field(default_factory=dict)
    executor: Executor = IN_PROCESS
    identities: Identities = field(default_factory=Identities)

    @property
    def identity(self) -> str:
        """Fingerprint of the detector."""
        return self.identities.of(self.detector)

    def folder(self, mode: str, attack: str) -> Path:
        """Return the folder of a cell."""
        return Cell(self.name, mode, attack).folder(self.out)

    def compute(self, jobs: Sequence[CellJob]) -> dict[CellKey, CellOutcome]:
        """Compute cells, and return their tables on disk, by mode and attack.

        Shards that are on disk are not computed again; those of all jobs are computed together. A
        cell with a shard that raises is :class:`~robustbench_aigi.outcomes.Failed`.

        Args:
            jobs: the cells.

        Raises:
            OutOfMemoryError: fewer images at once may fit.
        """
        shards = {id(job.data): job.data.slices(SHARD_SIZE) for job in jobs}
        cells = [PartialCell(self, job, shards[id(job.data)]) for job in jobs]
        failed: dict[int, Failed] = {}
        in_flight: deque[ShardTask] = deque()
        compute = Compute([(job.attack, job.work) for job in jobs])
        for answer in self.executor.map_ordered(compute, _tasks(cells, failed, in_flight)):
            task = in_flight.popleft()
            if isinstance(answer, ShardResult):
                cells[task.job].write(task, answer)
                continue
            if answer.is_out_of_memory and self.detector.at_once > 1:
                raise OutOfMemoryError
            if task.job not in failed:
                answer.write_log(cells[task.job].folder / ERROR_FILE)
                failed[task.job] = answer
        return {
            (job.mode, job.attack): failed.get(number, cell.stored)
            for number, (job, cell) in enumerate(zip(jobs, cells, strict=True))
        }


def _tasks(
    cells: Sequence["PartialCell"], failed: Mapping[int, Failed], in_flight: deque[ShardTask]
) -> Iterator[ShardTask]:
    """Yield the missing shards of cells that have not failed, noting each in ``in_flight``."""
    for number, cell in enumerate(cells):
        for index, shard in cell.missing:
            if number not in failed:
                cell.report()
                known = cell.job.clean
                key = cell.keys[_shard_name(index)]
                fresh = Dataset(shard.name, shard.rows)  # its rows are not kept with the shard
                task = ShardTask(number, index, fresh, key, known and known.of(shard))
                in_flight.append(task)
                yield task


class PartialCell:
    """A partially computed cell.

    Args:
        runner: of the detector.
        job: the cell.
        shards: its images, which several cells may share.
    """

    def __init__(self, runner: CellRunner, job: CellJob, shards: Sequence[Dataset]) -> None:
        self.runner = runner
        self.job = job
        self.title = f"{runner.name}: {job.mode} {job.attack}"
        self.folder = runner.folder(job.mode, job.attack)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ERROR_FILE).unlink(missing_ok=True)
        passes = layout_key(runner.detector) + (() if job.gradients is None else (job.gradients,))
        own = digest(runner.identity, runner.detector.at_once, *job.depends_on, *passes)
        self.keys = {
            _shard_name(index): digest(CELL_SCHEMA, own, shard.key)
            for index, shard in enumerate(shards)
        }
        fingerprint = runner.fingerprints.get((job.mode, job.attack), "")
        write_contents(
            self.folder,
            CellContents(
                fingerprint=fingerprint,
                shards=self.keys,
                gradients=job.gradients,
                channels_last=runner.detector.channels_last,
            ),
        )
        self.missing = [
            (index, shard) for index, shard in enumerate(shards) if not self._is_done(index)
        ]
        self.left = sum(len(shard) for _, shard in self.missing)

    def _is_done(self, index: int) -> bool:
        name = _shard_name(index)
        return key_of(self.folder / name) == self.keys[name]

    def report(self) -> None:
        """Report the progress."""
        images = len(self.job.data)
        self.runner.progress(self.title, images - self.left, images)

    def write(self, task: ShardTask, result: ShardResult) -> None:
        """Write a shard to disk."""
        place = self.folder / _shard_name(task.number)
        atomic_write(place, lambda temporary: temporary.write_bytes(result.content))
        note_time(self.folder, task.number, result.seconds)
        self.left -= len(task.shard)
        self.report()

    @property
    def stored(self) -> StoredCell:
        """The table, of which all shards are on disk."""
        return StoredCell(self.folder, tuple(self.keys))


def _shard_name(index: int) -> str:
    return sys.intern(f"shard-{index:04d}.parquet")
