"""Building a ``++`` set: clean images, every perturbation of a suite, and diffusion samples."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.manifest_file import ManifestFile
from robustbench_aigi.data.plusplus.parts import Part, PartBuilder, part_builders
from robustbench_aigi.data.plusplus.storage import (
    IMAGE_FILES,
    NAME_KEY,
    SIZE_KEY,
    MadeShard,
    Storage,
    load_storage,
)
from robustbench_aigi.data.reading import CONVERT_COLUMN
from robustbench_aigi.data.rows import Rows, StoredRows
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.faster import copy_detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.errors import UserError
from robustbench_aigi.executors import IN_PROCESS, Executor, InProcessExecutor, find_unsendable
from robustbench_aigi.io.files import atomic_write, write_text
from robustbench_aigi.io.hashing import digest
from robustbench_aigi.progress import Progress

MAX_GROUPS = 4096
"""Row groups of a manifest: of more shards, the tables of several are in one."""
JOINED_FILE = "joined"
"""File beside the tables of a set that says which of them its manifest was joined from."""


def build_plusplus(
    parts: Mapping[str, Part],
    suite: Suite,
    surrogates: Mapping[str, Detector],
    out: Path,
    progress: Progress,
    executor: Executor = IN_PROCESS,
    identities: Identities | None = None,
    shards: str | None = None,
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
        shards: kind of archive to write the images of each shard to; None for one file per image.

    Raises:
        DataError: a row names a surrogate that was not given.
        UnknownNameError: there is no such kind of archive.
    """
    storage = load_storage(shards)
    builders = all_builders(parts, suite, surrogates, identities, storage)
    used = {name: surrogates[name] for name in suite.surrogates & surrogates.keys()}
    _make_shards(builders, out, storage, progress, executor, used)
    write_text(out / "suite.json", suite.model_dump_json(by_alias=True, indent=2))
    tables = [out / place for builder in builders for _, place in builder.places()]
    _write_manifest(tables, out)


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
    storage: Storage = IMAGE_FILES,
) -> list[PartBuilder]:
    """Return all that a set is made of.

    Args:
        parts: by split.
        suite: what is done to the clean images.
        surrogates: detectors by name.
        identities: the surrogates' fingerprints, where the caller has them already.
        storage: how their shards are stored.

    Raises:
        DataError: a row names a surrogate that was not given.
    """
    known = (identities or Identities()).of_all(surrogates)
    copies = {name: _copy_if_possible(detector) for name, detector in surrogates.items()}
    return [
        replace(builder, key=storage.shard_key(builder.key))
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

    makes: Sequence[Callable[[Dataset], MadeShard]]
    out: Path
    storage: Storage

    def __call__(self, task: _Task) -> tuple[int, int]:
        made = self.makes[task.builder](task.shard)
        self.storage.write(made, self.out, task.place)
        return task.builder, len(made.files)


def _make_shards(
    builders: Sequence[PartBuilder],
    out: Path,
    storage: Storage,
    progress: Progress,
    executor: Executor,
    used: Mapping[str, Detector],
) -> None:
    """Make the missing shards of all parts together, so that no worker waits for a part's end."""
    missing = [task for task in _interleaved(builders) if not storage.is_whole(out, task.place)]
    if not missing:
        return
    if find_unsendable(executor, used, "images are made on it"):
        executor = InProcessExecutor(1)
    done = [len(builder.data) for builder in builders]
    for task in missing:
        done[task.builder] -= len(task.shard)
    maker = _ShardMaker([builder.make for builder in builders], out, storage)
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


def _write_manifest(tables: Sequence[Path], out: Path) -> None:
    """Join the shards' tables, unless the manifest is whole and was joined from the same ones."""
    manifest = out / "manifest.parquet"
    record = tables[0].parent / JOINED_FILE
    wanted = digest([path.name for path in tables])
    known = record.read_text(encoding="utf-8") if record.is_file() else ""
    if known == wanted and _is_parquet(manifest):
        return
    record.unlink(missing_ok=True)
    atomic_write(manifest, lambda temporary: _join_tables(tables, temporary))
    write_text(record, wanted)


def _is_parquet(path: Path) -> bool:
    try:
        return bool(pq.read_metadata(path).num_rows)
    except (OSError, pa.ArrowException):
        return False


def _join_tables(tables: Sequence[Path], target: Path) -> None:
    """Append the shards' tables to one file, each a row group, or several where they are many.

    A table without the column of conversions gets an empty one where others have it.
    """
    schemas = [pq.read_schema(path) for path in tables]
    schema = next((one for one in schemas if CONVERT_COLUMN in one.names), schemas[0])
    metadata = schema.metadata or {}
    shared = {key: value for key, value in metadata.items() if key not in (NAME_KEY, SIZE_KEY)}
    schema = schema.with_metadata(shared)
    together = -(-len(tables) // MAX_GROUPS)
    with pq.ParquetWriter(target, schema) as writer:
        for start in range(0, len(tables), together):
            group = [_fitted(path, schema) for path in tables[start : start + together]]
            writer.write_table(pa.concat_tables(group))


def _fitted(path: Path, schema: pa.Schema) -> pa.Table:
    table = pq.read_table(path)
    if CONVERT_COLUMN in schema.names and CONVERT_COLUMN not in table.column_names:
        table = table.append_column(CONVERT_COLUMN, [[""] * len(table)])
    return table.select(schema.names).cast(schema)
