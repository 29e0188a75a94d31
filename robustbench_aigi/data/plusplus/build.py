"""Building a ``++`` set: clean images, every perturbation of a suite, and diffusion samples."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.manifest_file import ManifestFile
from robustbench_aigi.data.plusplus.parts import Part, PartBuilder, part_builders
from robustbench_aigi.data.reading import CONVERT_COLUMN
from robustbench_aigi.data.rows import Rows, StoredRows
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.faster import copy_detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.errors import UserError
from robustbench_aigi.executors import IN_PROCESS, Executor, InProcessExecutor, find_unsendable
from robustbench_aigi.io.files import atomic_write, write_text
from robustbench_aigi.progress import Progress


def build_plusplus(
    parts: Mapping[str, Part],
    suite: Suite,
    surrogates: Mapping[str, Detector],
    out: Path,
    progress: Progress,
    executor: Executor = IN_PROCESS,
    identities: Identities | None = None,
) -> None:
    """Write a set, its suite and ``manifest.parquet``; shards that are there are kept.

    Perturbed images are PNG, clean ones keep their original bytes, generated ones are stored as the
    clean ones are. Memory does not grow with the set.

    Args:
        parts: by split.
        suite: what is done to the clean images.
        surrogates: detectors by name.
        out: folder of the set.
        progress: called after every shard.
        executor: runs the work; the number of workers does not change a byte. Surrogates that
            cannot be sent to its processes are attacked in this one.
        identities: the surrogates' fingerprints, where the caller has them already.

    Raises:
        DataError: a row names a surrogate that was not given.
    """
    builders = all_builders(parts, suite, surrogates, identities)
    used = {name: surrogates[name] for name in suite.surrogates & surrogates.keys()}
    _make_shards(builders, out, progress, executor, used)
    write_text(out / "suite.json", suite.model_dump_json(by_alias=True, indent=2))
    tables = [out / place for builder in builders for _, place in builder.places()]
    atomic_write(out / "manifest.parquet", lambda temporary: _join_tables(tables, temporary))


def load_plusplus(out: Path, split: str | None = None, attack: str | None = None) -> Dataset:
    """Load a built set, or a part of it, as a dataset.

    Args:
        out: folder of the set.
        split: of the images; all if None.
        attack: of the images, such as ``clean``; all if None.
    """
    rows: Rows = StoredRows(ManifestFile(out / "manifest.parquet", str(out)))
    for name, value in {"split": split, "attack": attack}.items():
        if value is not None:
            rows = rows.where(name, [value])
    return Dataset("++", rows)


def all_builders(
    parts: Mapping[str, Part],
    suite: Suite,
    surrogates: Mapping[str, Detector],
    identities: Identities | None = None,
) -> list[PartBuilder]:
    """Return all that a set is made of.

    Args:
        parts: by split.
        suite: what is done to the clean images.
        surrogates: detectors by name.
        identities: the surrogates' fingerprints, where the caller has them already.

    Raises:
        DataError: a row names a surrogate that was not given.
    """
    known = (identities or Identities()).of_all(surrogates)
    copies = {name: _copy_if_possible(detector) for name, detector in surrogates.items()}
    return [
        builder
        for split, part in parts.items()
        for builder in part_builders(split, part, suite, copies, known)
    ]


def _copy_if_possible(detector: Detector) -> Detector:
    """Return a copy, which holds nothing of earlier passes; else the detector itself."""
    try:
        return copy_detector(detector)
    except UserError:
        return detector


class _Task(NamedTuple):
    """One shard of one builder, and where its table goes."""

    builder: int
    shard: Dataset
    place: Path


@dataclass(frozen=True)
class _ShardMaker:
    """What an executor's workers hold."""

    makes: Sequence[Callable[[Dataset, Path], pd.DataFrame]]
    out: Path

    def __call__(self, task: _Task) -> tuple[int, int]:
        table = self.makes[task.builder](task.shard, self.out)
        atomic_write(self.out / task.place, functools.partial(table.to_parquet, index=False))
        return task.builder, len(table)


def _make_shards(
    builders: Sequence[PartBuilder],
    out: Path,
    progress: Progress,
    executor: Executor,
    used: Mapping[str, Detector],
) -> None:
    """Make the missing shards of all parts together, so that no worker waits for a part's end."""
    missing = [task for task in _interleaved(builders) if not (out / task.place).is_file()]
    if not missing:
        return
    if find_unsendable(executor, used, "images are made on it"):
        executor = InProcessExecutor(1)
    done = [len(builder.data) for builder in builders]
    for task in missing:
        done[task.builder] -= len(task.shard)
    maker = _ShardMaker([builder.make for builder in builders], out)
    for number, count in executor.map_ordered(maker, missing):
        builder = builders[number]
        done[number] += count
        progress(f"building {builder.split} {builder.attack}", done[number], len(builder.data))


def _interleaved(builders: Sequence[PartBuilder]) -> list[_Task]:
    """Return the shards of all parts, spread evenly, so that files are written during attacks."""
    tasks = []
    for number, builder in enumerate(builders):
        places = list(builder.places())
        for index, (shard, place) in enumerate(places):
            tasks.append((index / len(places), _Task(number, shard, place)))
    return [task for _, task in sorted(tasks, key=lambda one: one[0])]


def _join_tables(tables: Sequence[Path], target: Path) -> None:
    """Append the shards' tables to one file, one row group each.

    A table without the column of conversions gets an empty one where others have it.
    """
    schemas = [pq.read_schema(path) for path in tables]
    schema = next((one for one in schemas if CONVERT_COLUMN in one.names), schemas[0])
    with pq.ParquetWriter(target, schema) as writer:
        for path in tables:
            table = pq.read_table(path)
            if CONVERT_COLUMN in schema.names and CONVERT_COLUMN not in table.column_names:
                table = table.append_column(CONVERT_COLUMN, [[""] * len(table)])
            writer.write_table(table.select(schema.names).cast(schema))
