"""What the driver of an evaluation spends and holds, when the work itself costs nothing.

    python -m tests.benchmarks.driver [--rows 100000 1000000 10000000]

A manifest of so many rows is written to a temporary folder, and a cell over all of it. Each phase
runs in a process of its own: `start` (nothing is done yet), `plan` (key of the data, shards and
their keys, a choice of images), `compute` (shards are handed to a worker and its tables written),
`resume` (all shards are there) and `matrix` (the rows of three cells and of two worst cases).
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.manifest_file import ManifestFile
from robustbench_aigi.data.rows import StoredRows
from robustbench_aigi.detectors import load_detector
from robustbench_aigi.evaluation.cell_runner import CellJob, CellRunner
from robustbench_aigi.evaluation.cells import SHARD_SIZE, TABLE_COLUMNS
from robustbench_aigi.evaluation.matrix_rows import matrix_rows
from robustbench_aigi.evaluation.run_plan import DetectorSpec
from robustbench_aigi.evaluation.stored_cells import StoredCell
from robustbench_aigi.executors import ExecutorOptions

T = TypeVar("T")
R = TypeVar("R")
DEFAULT_ROWS = (100_000, 1_000_000)
DRIVER_PHASES = ("start", "plan", "compute", "resume", "matrix")
MATRIX_CELLS = 3
"""Cells, of as many shards each, behind the matrix."""
ROWS_TOGETHER = 100_000
"""Rows of the manifest that are written together."""


def find_nothing(shard: Dataset) -> pd.DataFrame:
    """Return a table of the size that a real one has."""
    rows = shard.manifest
    number = np.random.default_rng(len(rows)).normal(size=len(rows))
    columns: dict[str, object] = dict.fromkeys(TABLE_COLUMNS, 0) | {
        "id": rows["id"],
        "label": rows["label"],
        "generator": rows["generator"],
        "clean_logit": number,
        "logit": number,
        "draws": 1,
        "fooled": False,
        "kept": False,
    }
    return pd.DataFrame(columns)


@dataclass
class TimedExecutor:
    """Runs tasks in this process and counts what they take.

    Attributes:
        seconds: of the processor that tasks took, which would be a worker's.
    """

    seconds: float = 0.0
    workers: int = 1

    def map_ordered(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``work(item)`` for each item."""
        for item in items:
            began = time.process_time()
            result = work(item)
            self.seconds += time.process_time() - began
            yield result

    @classmethod
    def from_options(cls, options: ExecutorOptions) -> Self:
        """Build the executor."""
        return cls()


def write_manifest(path: Path, rows: int) -> None:
    """Write a manifest of images that do not exist."""
    writer: pq.ParquetWriter | None = None
    for table in manifest_parts(rows):
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=2**16)
    assert writer is not None
    writer.close()


def manifest_parts(rows: int) -> Iterator[pa.Table]:
    for start in range(0, rows, ROWS_TOGETHER):
        numbers = range(start, min(start + ROWS_TOGETHER, rows))
        ids = [f"test/{'REAL' if n % 2 else 'FAKE'}/{n:08d}.jpg" for n in numbers]
        columns = {
            "id": ids,
            "label": [1 - n % 2 for n in numbers],
            "split": "test",
            "generator": ["camera" if n % 2 else f"model-{n % 7}" for n in numbers],
            "category": "",
            "parent": ids,
            "sha256": [f"{n:064x}" for n in numbers],
            "path": [f"/data/{name}" for name in ids],
            "row": -1,
            "height": 32,
            "width": 32,
        }
        yield pa.Table.from_pandas(pd.DataFrame(columns), preserve_index=False)


def run_phase(phase: str, folder: Path) -> float:
    """Return the seconds of the processor that a phase takes the driver."""
    detector = load_detector("cifake-cnn", "cifake")
    by = TimedExecutor()
    runner = CellRunner(
        "fleet", detector, folder / "run", lambda task, done, total: None, executor=by
    )
    runner.identities.of(detector)
    began = time.process_time()
    data = Dataset("fleet", StoredRows(ManifestFile(folder / "manifest.parquet")))
    if phase == "start":
        return 0.0
    if phase == "plan":
        assert data.key
        assert len(data.limit(64)) == 64
        assert all(shard.key for shard in data.slices(SHARD_SIZE))
    elif phase == "matrix":
        names = sorted(path.name for path in (folder / "run").rglob("shard-*.parquet"))
        rows_of(StoredCell(runner.folder("clean", "clean"), tuple(names)))
    else:
        runner.compute([CellJob("clean", "clean", data, find_nothing)])
    return time.process_time() - began - by.seconds


def rows_of(cell: StoredCell) -> None:
    suite = load_suite("quick")
    static = next(row.id for row in suite.rows if row.shared)
    aimed = next(row.id for row in suite.rows if row.built.access == "gradients")
    cells = {
        ("clean", "clean"): cell,
        ("static", static): cell,
        ("white-box", aimed): cell,
    }
    found = matrix_rows("fleet", DetectorSpec(), suite, cells, [])
    assert len(found) >= 3 * len(cells)


def measured(phase: str, folder: Path) -> dict[str, float]:
    """Run a phase in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.driver", "--phase", phase]
    done = subprocess.run(
        [*command, "--folder", str(folder)], check=True, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def peak_megabytes() -> float:
    """Return the largest resident size of this process; what it was started from has no part."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=DEFAULT_ROWS)
    parser.add_argument("--phase", choices=DRIVER_PHASES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.phase:
        seconds = run_phase(args.phase, args.folder)
        say(json.dumps({"seconds": seconds, "megabytes": peak_megabytes()}))
        return 0
    say("| rows | phase | driver, ms per shard | driver, peak MB |\n|---:|---|---:|---:|")
    for rows in args.rows:
        with tempfile.TemporaryDirectory() as folder:
            write_manifest(Path(folder) / "manifest.parquet", rows)
            for phase in DRIVER_PHASES:
                found = measured(phase, Path(folder))
                cells = MATRIX_CELLS if phase == "matrix" else 1
                each = 1000 * found["seconds"] / (cells * rows / SHARD_SIZE)
                say(f"| {rows} | {phase} | {each:.2f} | {found['megabytes']:.0f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
