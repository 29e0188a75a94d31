"""Trials: work done on a few images, from which its cost on all of them is computed."""

from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.dataset import SIZE_COLUMNS, SLICE_PIXELS, Dataset
from robustbench_aigi.executors import InProcessExecutor
from robustbench_aigi.executors.process_costs import CpuTimer

TRIAL_SIZES = (2, 8, 32, 128)
"""Images of a trial, and of the next ones while it is too short."""
ENOUGH_SECONDS = 0.5
"""CPU seconds that a trial must take to count, unless it is of all images. The first warms up."""
LONG_SECONDS = 5.0
"""CPU seconds after which even the first trial counts."""
SIZE_FACTOR = 4
"""Images whose areas differ by less are tried together."""
DISK_BLOCK = 4096
"""Bytes that a file takes a multiple of, on most disks."""

WORKER_START = "start of a worker"
"""Row of a plan: what each process of a pool takes before any work."""

Work = Callable[[Dataset], pd.DataFrame]
"""Function of a shard of images to a table of results."""


class StoredSize(NamedTuple):
    """Bytes on the disk of the results of some images.

    Attributes:
        rows: of the images, a share of the file or files that they are in.
        shard: of every shard besides its rows.
    """

    rows: float = 0.0
    shard: float = 0.0


class WorkCost(NamedTuple):
    """What a work takes.

    Attributes:
        images: how many it is done on.
        passes: of a detector, forward and backward.
        seconds: CPU time of one thread.
        megabytes: on the disk.
    """

    images: int = 0
    passes: float = 0.0
    seconds: float = 0.0
    megabytes: float = 0.0

    def plus(self, other: Self) -> "WorkCost":
        """Return the cost of both."""
        return WorkCost(
            self.images + other.images,
            self.passes + other.passes,
            self.seconds + other.seconds,
            self.megabytes + other.megabytes,
        )

    def of_images(self, images: int) -> "WorkCost":
        """Return the cost of another number of images of the same sizes."""
        share = images / max(1, self.images)
        return WorkCost(images, *(number * share for number in self[1:]))


class PlannedTotals(NamedTuple):
    """What a command takes in all.

    Attributes:
        workers: processes that share the work.
        seconds: CPU time of all processes.
        megabytes: on the disk.
        worker_memory: peak of the process that does the work, or of each, in bytes.
        memory: peak of all processes together, in bytes.
    """

    workers: int
    seconds: float
    megabytes: float
    worker_memory: float
    memory: float

    def to_text(self) -> str:
        """Return two lines with the totals."""
        few = f"{self.workers} workers" if self.workers > 1 else "1 worker"
        each = f"{self.worker_memory / 1e6:.0f} MB of memory per worker"
        return (
            f"about {self.seconds / 60:.1f} CPU minutes,"
            f" {self.seconds / 60 / self.workers:.1f} minutes with {few} of one thread\n"
            f"{self.megabytes:.0f} MB on the disk, {each}, {self.memory / 1e6:.0f} MB for all"
            " processes"
        )


class _Trial(NamedTuple):
    """What was measured on a sample: ``share`` is how many times the sample the whole group is."""

    table: pd.DataFrame
    seconds: float
    share: float


def try_work(
    work: Work,
    data: Dataset,
    stored: Callable[[pd.DataFrame], StoredSize] | None = None,
    shard_size: int = 250,
) -> WorkCost:
    """Measure a work on a few images of every size, and multiply by pixels.

    The largest image is always among them, so that the peak memory of this process is that of the
    work.

    Args:
        work: done on one thread of this process.
        data: the images that it would be done on.
        stored: what a table of results takes on the disk; None for nothing.
        shard_size: images per shard at most.
    """
    if not len(data):
        return WorkCost()
    total = WorkCost()
    shard = 0.0
    for group in size_groups(data):
        trial = _try_group(work, group)
        size = StoredSize() if stored is None else stored(trial.table)
        shard = max(shard, size.shard)
        columns = {"forwards", "backwards"} & set(trial.table)
        passes = sum(float(trial.table[column].sum()) for column in columns)
        total = total.plus(
            WorkCost(
                len(group),
                passes * trial.share,
                trial.seconds * trial.share,
                size.rows * trial.share / 1e6,
            )
        )
    return total._replace(megabytes=total.megabytes + _shard_count(data, shard_size) * shard / 1e6)


def planned_totals(costs: pd.DataFrame, workers: int, *, has_pool: bool) -> PlannedTotals:
    """Return the totals of a plan.

    Args:
        costs: its rows, with the columns ``attack, seconds, megabytes`` and ``memory``, the peak of
            the process in bytes.
        workers: processes that share the work.
        has_pool: whether they are other processes than the command's own.
    """
    is_worker = costs["attack"] == WORKER_START
    processes = workers if has_pool else 0
    seconds = costs["seconds"][~is_worker].sum() + processes * costs["seconds"][is_worker].sum()
    peak = float(costs["memory"].max())
    command = float(costs["memory"].iloc[0]) if processes else 0.0
    return PlannedTotals(
        workers,
        float(seconds),
        float(costs["megabytes"].sum()),
        peak,
        peak * max(1, processes) + command,
    )


def size_groups(data: Dataset) -> list[Dataset]:
    """Return the images by size, small ones first: areas within a group differ by less than
    :data:`SIZE_FACTOR`.

    Args:
        data: all in one group where its manifest does not hold the sizes.
    """
    order = size_orders(data)
    return [
        Dataset(data.name, data.manifest[order == value].reset_index(drop=True))
        for value in np.unique(order)
    ]


def size_orders(data: Dataset) -> npt.NDArray[np.int64]:
    """Return the number of the group of every image.

    Args:
        data: the images.
    """
    order: npt.NDArray[np.int64] = np.floor(np.log(areas(data)) / np.log(SIZE_FACTOR)).astype(int)
    return order


def sample_of(group: Dataset, count: int) -> Dataset:
    """Return images of about the mean size, half of each class, and the largest one.

    Args:
        group: what they are of.
        count: at most so many images.
    """
    if count >= len(group):
        return group
    area = areas(group)
    rows = group.manifest
    keys = pd.DataFrame(
        {
            "gap": np.abs(area - area.mean()),
            "rank": np.random.default_rng(0).permutation(len(rows)),
            "label": rows["label"],
        }
    ).sort_values(["gap", "rank"])
    picked = keys.groupby("label").head(count // 2).index.tolist()
    largest = int(area.argmax())
    if area[largest] > area[picked].max():
        picked[-1] = largest
    return Dataset(group.name, rows.loc[sorted(picked)].reset_index(drop=True))


def areas(data: Dataset) -> npt.NDArray[np.float64]:
    """Return the pixels of every image; 1 where the manifest does not hold their sizes.

    Args:
        data: the images.
    """
    if not set(SIZE_COLUMNS) <= set(data.manifest.columns):
        return np.ones(len(data))
    sizes = data.manifest[list(SIZE_COLUMNS)].to_numpy(np.float64)
    product: npt.NDArray[np.float64] = sizes.prod(axis=1)
    return product


def table_size(table: pd.DataFrame) -> StoredSize:
    """Return the bytes of a table as a Parquet file: those of its rows, and those of any shard."""
    empty = _parquet_bytes(table.head(0))
    return StoredSize(max(0, _parquet_bytes(table) - empty), empty + DISK_BLOCK / 2)


def blocks(size: float) -> int:
    """Return the bytes that a file takes on the disk.

    Args:
        size: its own bytes.
    """
    return int(-(-size // DISK_BLOCK)) * DISK_BLOCK


def _try_group(work: Work, group: Dataset) -> _Trial:
    pixels = areas(group).sum()
    trial = None
    for count in TRIAL_SIZES:
        sample = sample_of(group, count)
        is_first = trial is None
        timer = CpuTimer()
        (table,) = InProcessExecutor(1).map_ordered(work, [sample])
        trial = _Trial(table, timer.seconds, float(pixels / areas(sample).sum()))
        is_enough = trial.seconds >= ENOUGH_SECONDS or len(sample) == len(group)
        if trial.seconds >= LONG_SECONDS or (is_enough and not is_first):
            break
    assert trial is not None
    return trial


def _shard_count(data: Dataset, size: int) -> int:
    return int(max(-(-len(data) // size), areas(data).sum() // SLICE_PIXELS))


def _parquet_bytes(table: pd.DataFrame) -> int:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pandas(table, preserve_index=False), sink)
    return len(sink.getvalue())
