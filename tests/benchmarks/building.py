"""Images a second that `build` makes without a model, from files to files.

    python -m tests.benchmarks.building [--cifake PATH]

Give CIFAKE's place with --cifake; without it `mini` is built. Every part is timed from files to
files, worker processes already running. Leave the machine alone meanwhile.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import load_data
from robustbench_aigi.data.plusplus.build import build_plusplus
from robustbench_aigi.data.plusplus.parts import Part
from robustbench_aigi.executors import PoolExecutor
from robustbench_aigi.progress import silent

WORKS = ("jpeg", "resize", "dct-noise")
BOUND = 1000


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifake", help="CIFAKE: a folder, Parquet files or a hub id")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    args = parser.parse_args()
    data = load_data(
        "cifake" if args.cifake else "mini", args.cifake, split="test", limit=args.images
    )
    suite = load_suite("cifakepp")
    spent: dict[str, float] = {}
    rows = tuple(row for row in suite.rows if row.attack in WORKS)
    with tempfile.TemporaryDirectory() as folder:
        part, pool = Part(data, all_rows=True, samples=0), PoolExecutor(args.workers)
        for chosen in (
            (),
            *((row,) for row in rows),
        ):  # first the clean images, which start the workers
            began = time.perf_counter()
            build_plusplus(
                {"test": part},
                suite.model_copy(update={"rows": chosen}),
                {},
                Path(folder),
                silent,
                pool,
            )
            spent.update({row.id: time.perf_counter() - began for row in chosen})
    sys.stdout.write(
        f"n = {len(data)}, {args.workers} workers\n\n| part | images per second | must reach"
        " |\n|---|---|---|\n"
    )
    for row in rows:
        rate = len(data) / spent[row.id]
        sys.stdout.write(
            f"| {row.id} | {rate:.0f} | >= {BOUND},"
            f" {'reached' if rate >= BOUND else 'not reached'} |\n"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
