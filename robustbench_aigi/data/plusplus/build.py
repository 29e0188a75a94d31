"""The `++` set: clean images, every perturbation of a suite made on named surrogates, and diffusion
samples.
"""

import functools
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import pyarrow.parquet as pq

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data.dataset import CONVERTED, Dataset
from robustbench_aigi.data.plusplus.parts import Part, PartBuilder, part_builders
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.faster import copy_detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.errors import DataError, UserError
from robustbench_aigi.executors import IN_PROCESS, Executor, InProcessExecutor, find_unsendable
from robustbench_aigi.io.files import atomic_write, write_text
from robustbench_aigi.progress import Progress

__all__ = ["Part", "build_plusplus", "plan", "plusplus"]

PROBE = 8
"""Images of a trial batch; the first batch of two warms up, the second is timed."""
BLOCK = 4096
"""Bytes that a file takes a multiple of, on most disks."""


def build_plusplus(
    parts: Mapping[str, Part],
    suite: Suite,
    surrogates: Mapping[str, Detector],
    out: Path,
    progress: Progress,
    executor: Executor = IN_PROCESS,
    identities: Identities | None = None,
) -> None:
    """Write the set, its suite and ``manifest.parquet`` under ``out``; shards that an earlier run
    finished are kept.

    Perturbed images are PNG, clean ones keep their original bytes, generated ones are stored as the
    clean ones are. Memory does not grow with the set.

    Args:
        executor: who does the work; the number of workers does not change a byte. Surrogates that
            cannot be sent to its processes are attacked in this one.
        identities: the surrogates', where the caller has them already.

    Raises:
        DataError: a row names a surrogate that was not given.
    """
    made = _all(parts, suite, surrogates, identities)
    used = {name: surrogates[name] for name in suite.surrogates & surrogates.keys()}
    _make(made, out, progress, executor, used)
    write_text(out / "suite.json", suite.model_dump_json(by_alias=True, indent=2))
    places = [out / place for builder in made for _, place in builder.places()]
    atomic_write(out / "manifest.parquet", lambda temporary: _join(places, temporary))


def plusplus(out: Path, split: str | None = None, attack: str | None = None) -> Dataset:
    """A built set as a dataset, or one split of it, or only the images of one attack (``clean`` is
    one).
    """
    chosen = [
        (name, "==", value)
        for name, value in (("split", split), ("attack", attack))
        if value is not None
    ]
    rows = pd.read_parquet(out / "manifest.parquet", filters=chosen or None)
    return Dataset("++", rows.assign(path=[f"{out}/{place}" for place in rows["path"]], row=-1))


def plan(
    parts: Mapping[str, Part],
    suite: Suite,
    surrogates: Mapping[str, Detector],
    out: Path,
    workers: int,
    identities: Identities | None = None,
) -> pd.DataFrame:
    """What a build has left to do, a row a part: ``split, attack, images, passes, seconds,
    megabytes``.

    Two small batches of every part are tried; the second one's time, passes and blocks on the disk
    are multiplied.

    Raises:
        DataError: the disk has less room than the set takes. Else as :func:`build_plusplus`.
    """
    made = _all(parts, suite, surrogates, identities)
    rows = [{"split": i.split, "attack": i.attack} | _expected(i, out) for i in made]
    table = pd.DataFrame(rows).astype({"passes": int})
    table["seconds"] /= workers
    room, needed = shutil.disk_usage(_existing(out)).free / 1e6, float(table["megabytes"].sum())
    if needed > room:
        raise DataError(
            f"the set takes about {needed:.0f} MB and {out} has room for {room:.0f} MB. Give --out"
            " on a larger disk, or --limit."
        )
    return table


def _all(
    parts: Mapping[str, Part],
    suite: Suite,
    surrogates: Mapping[str, Detector],
    identities: Identities | None,
) -> list[PartBuilder]:
    known = (identities or Identities()).of_all(surrogates)
    fit_to_travel = {name: _copied_if_possible(detector) for name, detector in surrogates.items()}
    return [
        i
        for split, part in parts.items()
        for i in part_builders(split, part, suite, fit_to_travel, known)
    ]


def _copied_if_possible(detector: Detector) -> Detector:
    """A copy, which drops what a pass left behind; the detector itself if it cannot be copied."""
    try:
        return copy_detector(detector)
    except UserError:
        return detector


class _Task(NamedTuple):
    builder: int
    shard: Dataset
    place: Path


@dataclass(frozen=True)
class _Making:
    """What an executor's workers hold."""

    makes: Sequence[Callable[[Dataset, Path], pd.DataFrame]]
    out: Path

    def __call__(self, task: _Task) -> tuple[int, int]:
        table = self.makes[task.builder](task.shard, self.out)
        atomic_write(self.out / task.place, functools.partial(table.to_parquet, index=False))
        return task.builder, len(table)


def _make(
    made: Sequence[PartBuilder],
    out: Path,
    progress: Progress,
    executor: Executor,
    used: Mapping[str, Detector],
) -> None:
    """Make the shards that are not there yet, of all parts together, so that no worker waits
    for another kind.
    """
    titles = [f"building {builder.split} {builder.attack}" for builder in made]
    left = [task for task in _in_turn(made) if not (out / task.place).is_file()]
    if not left:
        return
    by = (
        InProcessExecutor(1)
        if find_unsendable(executor, used, "images are made on it")
        else executor
    )
    done = [len(builder.data) for builder in made]
    for task in left:
        done[task.builder] -= len(task.shard)
    for number, count in by.map_ordered(_Making([builder.make for builder in made], out), left):
        done[number] += count
        progress(titles[number], done[number], len(made[number].data))


def _in_turn(made: Sequence[PartBuilder]) -> list[_Task]:
    """The shards of all parts, spread evenly: files are changed while a detector is
    attacked.
    """
    tasks = [
        (share / len(places), _Task(number, *place))
        for number, places in enumerate(list(builder.places()) for builder in made)
        for share, place in enumerate(places)
    ]
    return [task for _, task in sorted(tasks, key=lambda one: one[0])]


def _expected(builder: PartBuilder, out: Path) -> dict[str, float]:
    left = sum(len(shard) for shard, place in builder.places() if not (out / place).is_file())
    trials = builder.data.slices(PROBE)[:2]
    if not left:
        return {"images": 0, "passes": 0, "seconds": 0.0, "megabytes": 0.0}
    with tempfile.TemporaryDirectory() as folder:
        for trial in trials:
            began = time.perf_counter()
            (table,) = InProcessExecutor(1).map_ordered(
                lambda shard: builder.make(shard, Path(folder)), [trial]
            )
            spent = time.perf_counter() - began
        size = sum(
            BLOCK * -(-(Path(folder) / path).stat().st_size // BLOCK) for path in table["path"]
        )
    share = left / len(table)
    passes = float((table["forwards"] + table["backwards"]).sum())
    return {
        "images": left,
        "passes": passes * share,
        "seconds": spent * share,
        "megabytes": size * share / 1e6,
    }


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())


def _join(places: Sequence[Path], target: Path) -> None:
    """Append the shards' tables to one file, a row group each; one without the column of
    conversions has none.
    """
    schemas = [pq.read_schema(place) for place in places]
    schema = next((one for one in schemas if CONVERTED in one.names), schemas[0])
    with pq.ParquetWriter(target, schema) as writer:
        for place in places:
            table = pq.read_table(place)
            if CONVERTED in schema.names and CONVERTED not in table.column_names:
                table = table.append_column(CONVERTED, [[""] * len(table)])
            writer.write_table(table.select(schema.names).cast(schema))
