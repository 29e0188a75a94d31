"""What a plan promises, and what the command then takes: CPU time, disk and memory.

    python -m tests.benchmarks.planned [--photos FOLDER] [--workers 1 2] [--only COMMAND] [SET ...]

Sets are images of 32 pixels (`mini`), of 256, of 4 000 x 3 000, and a mix of sizes; --photos adds a
folder with REAL and FAKE. Each is planned and evaluated with a few rows, and planned and built. CPU
time and memory are those of all processes; memory per process is the largest peak of one of them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil  # type: ignore[import-untyped]
from PIL import Image

from tests.benchmarks.perturbations import smooth_images

SUITE_TEXT = """
name = "planned"
version = 1
seed = 0

[[attacks]]
id = "pgd"
attack = "pgd-linf"
with = { eps = 8, step = 2, steps = 5 }
surrogate = "cifake-cnn"

[[attacks]]
id = "square"
attack = "square-linf"
with = { eps = 8, queries = 20 }

[[attacks]]
id = "jpeg"
attack = "jpeg"
with = { quality = 50 }

[[attacks]]
id = "resize"
attack = "resize"
with = { scale = 0.5, filter = "bilinear" }
"""
IMAGE_SHAPES = {
    "256": [(256, 256)] * 24,
    "4000": [(4000, 3000)] * 2,
    "mixed": [(64, 64)] * 16 + [(256, 256)] * 8 + [(1024, 768)] * 4 + [(3000, 2000)],
}
"""Heights and widths of the images of a set."""
MINI_IMAGES = 40
TILE_SIDE = 512
MAX_RATIO = 1.5
SURROGATE_WEIGHTS = "robustbench_aigi/weights/cifake-cnn-cifake.safetensors"
BASE_COMMAND = [sys.executable, "-m", "robustbench_aigi"]
PLAN_BUILD = """
import json
from robustbench_aigi.cli.main import main
from robustbench_aigi.data.trials import planned_totals
from robustbench_aigi.pipeline import datasets
def build(*args, executor, **options):
    table = plain(*args, executor=executor, **options)
    print(json.dumps(planned_totals(table, executor.workers, has_pool=True)._asdict()))
    return table
plain, datasets.build = datasets.build, build
main()
"""


class Taken(NamedTuple):
    """CPU seconds, bytes on the disk, and peak bytes of the largest process and of all."""

    seconds: float
    disk: float
    process: float
    all: float


def write_images(folder: Path, shapes: list[tuple[int, int]]) -> None:
    """Write smooth JPEG images of some heights and widths, classes in turn."""
    tiles = smooth_images(4, TILE_SIDE)
    for number, (height, width) in enumerate(shapes):
        times = (-(-height // TILE_SIDE), -(-width // TILE_SIDE), 1)
        pixels = np.roll(np.tile(tiles[number % 4], times)[:height, :width], 37 * number, axis=0)
        path = folder / ("REAL" if number % 2 else "FAKE") / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def measure(command: list[str], out: Path) -> Taken:
    """Run a command to its end, and return what all its processes took."""
    before = os.times()
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        peaks = dict(follow(process))
        if process.wait():
            log.seek(0)
            raise RuntimeError(log.read().decode()[-2000:])
    after = os.times()
    seconds = after.children_user + after.children_system
    seconds -= before.children_user + before.children_system
    du = subprocess.run(["du", "-s", "--block-size=1", str(out)], capture_output=True, check=True)
    large = [peak for peak in peaks.values() if peak > 200e6]  # others only look after the workers
    return Taken(seconds, float(du.stdout.split()[0]), max(large), sum(large))


def follow(process: "subprocess.Popen[bytes]") -> Iterator[tuple[int, float]]:
    """Yield the peak so far of each process, by number, until the command ends."""
    root = psutil.Process(process.pid)
    while process.poll() is None:
        for one in [root, *root.children(recursive=True)]:
            try:
                lines = Path(f"/proc/{one.pid}/status").read_text().splitlines()
            except OSError:
                continue
            yield from ((one.pid, 1024.0 * int(x.split()[1])) for x in lines if "VmHWM" in x)
        time.sleep(0.05)


def planned(command: list[str]) -> Taken:
    """Run a command that prints its totals as JSON."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    totals = found.get("totals", found)
    return Taken(
        totals["seconds"], totals["megabytes"] * 1e6, totals["worker_memory"], totals["memory"]
    )


def compare(name: str, expected: Taken, taken: Taken) -> bool:
    """Print a row of planned, taken and ratio per quantity; return whether all are in bounds."""
    units = (("CPU s", 1.0), ("disk MB", 1e6), ("process MB", 1e6), ("all MB", 1e6))
    is_within = True
    for (unit, size), plan, real in zip(units, expected, taken, strict=True):
        ratio = plan / real
        fits = 1 / MAX_RATIO <= ratio <= MAX_RATIO
        is_within &= fits
        verdict = "" if fits else "not reached"
        row = (
            f"| {name} | {unit} | {plan / size:.1f} | {real / size:.1f} | {ratio:.2f} | {verdict} |"
        )
        sys.stdout.write(f"{row}\n")
        sys.stdout.flush()
    return is_within


def compare_evaluation(name: str, source: list[str], folder: Path, workers: int) -> bool:
    """Plan and run the evaluation of a set."""
    out = folder / f"{name}-{workers}"
    given = ["cifake-cnn", "--data", *source, *_shared_options(folder, workers)]
    expected = planned([*BASE_COMMAND, "plan", *given, "--json"])
    taken = measure([*BASE_COMMAND, "evaluate", *given, "--out", str(out)], out)
    return compare(f"evaluate {name}, workers {workers}", expected, taken)


def compare_build(name: str, source: list[str], folder: Path, workers: int) -> bool:
    """Plan and run the build of a set."""
    out = folder / f"{name}-{workers}++"
    given = ["build", *source, *_shared_options(folder, workers), "--out", str(out)]
    given += ["--surrogate", SURROGATE_WEIGHTS, "--samples", "4"]
    expected = planned([sys.executable, "-c", PLAN_BUILD, *given, "--dry-run"])
    taken = measure([*BASE_COMMAND, *given], out)
    return compare(f"build {name}, workers {workers}", expected, taken)


def _shared_options(folder: Path, workers: int) -> list[str]:
    return ["--attacks", str(folder / "suite.toml"), "--workers", str(workers)]


COMPARED_COMMANDS = {"evaluate": compare_evaluation, "build": compare_build}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="*", default=["32", *IMAGE_SHAPES], metavar="SET")
    parser.add_argument("--photos", type=Path, help="folder with REAL and FAKE")
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--only", choices=["evaluate", "build"], help="one of the commands")
    args = parser.parse_args()
    sys.stdout.write("| command | of | planned | taken | ratio | |\n|---|---|---:|---:|---:|---|\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "suite.toml").write_text(SUITE_TEXT)
        sources = {"32": ["mini", "--limit", str(MINI_IMAGES)]}
        for key in set(args.sets) & set(IMAGE_SHAPES):
            write_images(folder / "images" / key, IMAGE_SHAPES[key])
            sources[key] = ["folder", "--source", str(folder / "images" / key)]
        if args.photos is not None:
            sources["photos"] = ["folder", "--source", str(args.photos), "--limit", "24"]
            args.sets.append("photos")
        results = [
            comparison(key, sources[key], folder, workers)
            for key in args.sets
            for workers in args.workers
            for command, comparison in COMPARED_COMMANDS.items()
            if args.only in (None, command)
        ]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
