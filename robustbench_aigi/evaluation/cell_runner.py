"""The bench: one detector's cells are planned, given to an executor shard by shard, and written as
they come.
"""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.cells import (
    ERROR,
    SCHEMA,
    SHARD,
    Cell,
    CellContents,
    Failure,
    Table,
    Work,
    capture_failure,
    key_of,
    note_time,
    read_shards,
    write_contents,
    write_shard,
)
from robustbench_aigi.executors import IN_PROCESS, Executor
from robustbench_aigi.io.hashing import digest
from robustbench_aigi.progress import Progress


class CellJob(NamedTuple):
    """A cell to compute; ``key`` is all that it depends on besides detector and images."""

    mode: str
    attack: str
    data: Dataset
    work: Work
    key: tuple[object, ...] = ()


class OutOfMemoryError(Exception):
    """Memory ran out, and fewer images at once may fit."""


class ShardTask(NamedTuple):
    """A shard of a job: of which job, its number there, and its images."""

    job: int
    number: int
    shard: Dataset


class ShardResult(NamedTuple):
    """A shard's table and the seconds it took."""

    table: pd.DataFrame
    seconds: float


@dataclass(frozen=True)
class Compute:
    """What an executor's workers hold: how each job turns a shard into a table, by its attack's
    name.
    """

    works: Sequence[tuple[str, Work]]

    def __call__(self, task: ShardTask) -> ShardResult | Failure:
        """Do a task; what it raises is an answer too, because other cells do not depend on it."""
        attack, work = self.works[task.job]
        began = time.monotonic()
        found = capture_failure(attack, lambda: work(task.shard))
        return found if isinstance(found, Failure) else ShardResult(found, time.monotonic() - began)


@dataclass(frozen=True)
class CellRunner:
    """One detector of a run: whose cells they are, where they are kept, and who computes them.

    ``marks`` are those of the run's grid, by mode and attack; ``identities`` are the run's.
    """

    name: str
    detector: Detector
    out: Path
    progress: Progress
    marks: Mapping[tuple[str, str], str] = field(default_factory=dict)
    executor: Executor = IN_PROCESS
    identities: Identities = field(default_factory=Identities)

    @property
    def identity(self) -> str:
        """See :class:`Identities`."""
        return self.identities.of(self.detector)

    def tables(self, jobs: Sequence[CellJob]) -> dict[tuple[str, str], Table]:
        """The tables of cells, by mode and attack: shards that are not there yet are computed, all
        jobs' together.

        A cell of which a shard raises has the status ``error: ...`` in the place of its table.
            Raises ``OutOfMemoryError``.
        """
        cut = {id(job.data): job.data.slices(SHARD) for job in jobs}
        fills = [PartialCell(self, job, cut[id(job.data)]) for job in jobs]
        failed: dict[int, str] = {}
        asked: deque[ShardTask] = deque()

        def tasks() -> Iterator[ShardTask]:
            for number, fill in enumerate(fills):
                for index, shard in fill.missing:
                    if number not in failed:
                        fill.tell()
                        asked.append(ShardTask(number, index, shard))
                        yield asked[-1]

        compute = Compute([(job.attack, job.work) for job in jobs])
        for answer in self.executor.map_ordered(compute, tasks()):
            task = asked.popleft()
            if isinstance(answer, Failure) and answer.memory and self.detector.at_once > 1:
                raise OutOfMemoryError
            if isinstance(answer, ShardResult):
                fills[task.job].write(task, answer)
            elif task.job not in failed:
                failed[task.job] = answer.kept(fills[task.job].folder / ERROR)
        return {
            (job.mode, job.attack): failed[number] if number in failed else fill.table()
            for number, (job, fill) in enumerate(zip(jobs, fills, strict=True))
        }


class PartialCell:
    """A cell on its way to be whole; ``shards`` are its images, which several cells may share."""

    def __init__(self, bench: CellRunner, job: CellJob, shards: Sequence[Dataset]) -> None:
        self.bench, self.job = bench, job
        cell = Cell(bench.name, job.mode, job.attack)
        self.title, self.folder = (
            f"{cell.detector}: {cell.mode} {cell.attack}",
            cell.folder(bench.out),
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ERROR).unlink(missing_ok=True)
        own = digest(bench.identity, bench.detector.at_once, *job.key)
        self.keys = {
            self._name(index): digest(SCHEMA, own, shard.key) for index, shard in enumerate(shards)
        }
        mark = bench.marks.get((job.mode, job.attack), "")
        write_contents(self.folder, CellContents(mark=mark, shards=self.keys))
        self.missing = [
            (index, shard)
            for index, shard in enumerate(shards)
            if key_of(self.folder / self._name(index)) != self.keys[self._name(index)]
        ]
        self.left = sum(len(shard) for _, shard in self.missing)

    @staticmethod
    def _name(index: int) -> str:
        return f"shard-{index:04d}.parquet"

    def tell(self) -> None:
        """Report how far it is."""
        self.bench.progress(self.title, len(self.job.data) - self.left, len(self.job.data))

    def write(self, task: ShardTask, done: ShardResult) -> None:
        """Keep a shard."""
        name = self._name(task.number)
        write_shard(done.table, self.folder / name, self.keys[name])
        note_time(self.folder, task.number, done.seconds)
        self.left -= len(task.shard)
        self.tell()

    def table(self) -> pd.DataFrame:
        """The whole table, without the images."""
        return read_shards([self.folder / name for name in self.keys])
