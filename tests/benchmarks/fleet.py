"""What ten million images would cost, and what breaks first: a fleet of small machines, simulated
by Ray's utilities.

    python -m tests.benchmarks.fleet --cifake PATH [--images 10000000]

Three things are measured and multiplied: the work of one image (`plan`, on one thread), what the
driver spends on a shard when the work itself takes no time (see `driver.py`), and how busy it keeps
workers whose work is to wait. Leave the machine alone meanwhile.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import ray
from ray.cluster_utils import Cluster as Simulated

from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import load_detector
from robustbench_aigi.evaluation.cell_runner import CellJob, CellRunner
from robustbench_aigi.evaluation.cells import SHARD_SIZE, TABLE_COLUMNS
from robustbench_aigi.executors import Executor, RayExecutor
from robustbench_aigi.pipeline.plan import plan_evaluation
from robustbench_aigi.progress import silent
from tests.benchmarks.driver import measured, write_manifest
from tests.benchmarks.scale import started

DETECTORS, SUITE, SAMPLE = ("cifake-cnn", "resnet18-c32", "tinyvit-5m"), "quick", 2000
DRIVER_ROWS = 500_000
NODES, OF_EACH, WAIT, ROUNDS = (1, 2, 4), 4, 2.0, 10
"""Machines, processors of each, seconds that a piece of work waits, and pieces for each processor.
"""


@dataclass(frozen=True)
class Wait:
    """Work that takes its time and finds nothing: a table of the size that a real one has."""

    seconds: float

    def __call__(self, shard: Dataset) -> pd.DataFrame:
        time.sleep(self.seconds)
        empty: dict[str, Any] = dict.fromkeys(TABLE_COLUMNS, 0.0)
        return pd.DataFrame(
            {**empty, "id": shard.manifest["id"], "generator": "", "label": 1, "fooled": False}
        )


def driven(rows: int, seconds: float, executor: Executor) -> dict[str, float]:
    """One cell of so many images: wall time, and the driver's own time."""
    ids = [f"test/FAKE/{number:08d}.jpg" for number in range(rows)]
    manifest = pd.DataFrame(
        {"id": ids, "label": 1, "split": "test", "generator": "", "sha256": "0" * 64, "path": ids}
    )
    detector = load_detector("cifake-cnn")
    before = time.process_time()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as out:
        bench = CellRunner("fleet", detector, Path(out), silent, executor=executor)
        bench.compute([CellJob("clean", "clean", Dataset("fleet", manifest), Wait(seconds))])
    return {"wall": time.perf_counter() - began, "own": time.process_time() - before}


def fleet(nodes: int) -> dict[str, float]:
    """The same on so many simulated machines."""
    simulated: Any = Simulated(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(nodes):
        simulated.add_node(num_cpus=OF_EACH)
    try:
        by = RayExecutor(nodes * OF_EACH, str(simulated.address))
        started(by, nodes * OF_EACH)
        return driven(SHARD_SIZE * nodes * OF_EACH * ROUNDS, WAIT, by)
    finally:
        ray.shutdown()  # else the machine that this process is connected to may not go
        simulated.shutdown()


def child(*arguments: str) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.fleet", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifake", help="CIFAKE: a folder, Parquet files or a hub id")
    parser.add_argument("--images", type=int, default=10_000_000)
    parser.add_argument("--nodes", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.nodes:
        say(json.dumps(fleet(args.nodes)))
        return 0
    table, _ = plan_evaluation(
        [load_detector(n, "cifake") for n in DETECTORS], SUITE, "cifake", args.cifake, SAMPLE
    )
    share, cells = (
        args.images / SAMPLE,
        len(table[(table["detector"] != "") & (table["mode"] != "probe")]),
    )
    hours, disk = (table[column].sum() * share for column in ("seconds", "megabytes"))
    files = share * float(table.loc[table["detector"] == "", "images"].sum())
    say(f"{', '.join(DETECTORS)} under `{SUITE}`, {args.images} images, {cells} cells\n")
    say(
        "| work, thread-hours | disk, GB | files of images | shards |\n|---:|---:|---:|---:|\n"
        f"| {hours / 3600:.0f} | "
        f"{disk / 1000:.0f} | {files:.3g} | {cells * args.images / SHARD_SIZE:.3g} |\n"
    )
    busy = table["seconds"].sum() / (cells * SAMPLE / SHARD_SIZE)
    with tempfile.TemporaryDirectory() as folder:
        write_manifest(Path(folder) / "manifest.parquet", DRIVER_ROWS)
        own = measured("compute", Path(folder))["seconds"] / (DRIVER_ROWS / SHARD_SIZE)
    say(
        f"A shard takes {busy:.2f} s of a thread and {own:.4f} s of the driver: {busy / own:.0f}"
        " threads keep it busy."
    )
    say(
        f"\n| machines of {OF_EACH} | pieces of {WAIT:g} s | threads busy | driver's seconds a"
        " piece |"
    )
    say("|---:|---:|---:|---:|")
    for nodes in NODES:
        found, pieces = child("--nodes", str(nodes)), nodes * OF_EACH * ROUNDS
        share = pieces * WAIT / found["wall"] / (nodes * OF_EACH)
        say(f"| {nodes} | {pieces} | {100 * share:.0f}% | {found['own'] / pieces:.3f} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
