"""Milliseconds an image of a detector on the CPU, eager beside each faster path.

    OMP_NUM_THREADS=2 python -m tests.benchmarks.latency [DETECTOR] [--with '{"size": 224}']
    [--rounds 9]

The paths take turns after a round to warm up, in which they are compiled or exported; each figure
is a median of one run. The last column is the largest difference from eager of a logit of 32
images. Leave the machine alone meanwhile.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from robustbench_aigi.config.process import tune_process
from robustbench_aigi.detectors import Detector, detectors, load_detector
from robustbench_aigi.detectors._support.faster import KNOWN_VIEWS, faster
from robustbench_aigi.errors import UserError

BATCHES = (1, 32)


@torch.no_grad()
def medians(paths: dict[str, Detector], images: Tensor, rounds: int) -> dict[str, float]:
    """Median milliseconds an image of each path."""
    taken: dict[str, list[float]] = {name: [] for name in paths}
    for turn in range(rounds + 1):
        for name, path in paths.items():
            began = time.perf_counter()
            path.logits(images)
            if turn:
                taken[name].append(time.perf_counter() - began)
    return {name: 1000 * statistics.median(times) / len(images) for name, times in taken.items()}


@torch.no_grad()
def faster_paths(detector: Detector, images: Tensor) -> tuple[dict[str, Detector], dict[str, str]]:
    """The faster paths that work here, and why the others do not."""
    working: dict[str, Detector] = {}
    lost: dict[str, str] = {}
    for by in KNOWN_VIEWS:
        try:
            view = faster(detector, by)
            view.logits(images[:1])
            working[by] = view
        except UserError as error:
            lost[by] = str(error)
    return working, lost


def processor() -> str:
    """The processor's name."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def table(detector: Detector, rounds: int) -> str:
    """Markdown, a row a path."""
    side = detector.card.input_size
    images = (
        torch.randint(
            0, 256, (max(BATCHES), 3, side, side), generator=torch.Generator().manual_seed(0)
        )
        / 255
    )
    working, lost = faster_paths(detector, images)
    paths = {"eager": detector, **working}
    times = {batch: medians(paths, images[:batch], rounds) for batch in BATCHES}
    with torch.no_grad():
        expected = detector.logits(images)
        off = {
            name: float((path.logits(images) - expected).abs().max())
            for name, path in paths.items()
        }
    head = " | ".join(f"batch {batch}, ms/image | against eager" for batch in BATCHES)
    rows = [
        f"| {name} | "
        + " | ".join(
            f"{times[b][name]:.2f} | {times[b]['eager'] / times[b][name]:.2f}x" for b in BATCHES
        )
        + f" | {off[name]:.2g} |"
        for name in paths
    ]
    ends = [f"{by}: {reason}" for by, reason in lost.items()]
    about = (
        f"{detector.card.name} at {side} x {side}; {processor()}, {torch.get_num_threads()}"
        f" threads, {rounds} rounds"
    )
    return "\n".join(
        [
            about,
            "",
            f"| path | {head} | logit off by |",
            "|---" * (2 + 2 * len(BATCHES)) + "|",
            *rows,
            *ends,
        ]
    )


def main() -> int:
    tune_process()  # as commands do
    best = "tinyvit-21m" if "tinyvit-21m" in detectors.names() else "tinyvit-5m"
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("detector", nargs="?", default=best)
    parser.add_argument(
        "--with", dest="config", type=json.loads, help="arguments of the detector, as JSON"
    )
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    config = (
        {"size": 224}
        if args.config is None and args.detector == "tinyvit-21m"
        else args.config or {}
    )
    torch.manual_seed(0)
    sys.stdout.write(table(load_detector(args.detector, **config), args.rounds) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
