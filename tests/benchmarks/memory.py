"""The most memory that an attack takes on one photograph.

    python -m tests.benchmarks.memory [--height 4000] [--width 3000] [ATTACK ...]

Each attack runs in a process of its own on one thread, at full strength with few steps, because the
peak does not grow with their number; the detector resizes to 32 x 32 pixels, so that the memory is
the attack's own.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from typing import Any

import torch

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.config.process import tune_process
from robustbench_aigi.detectors import load_detector

SETTINGS: dict[str, dict[str, Any]] = {
    "pgd-linf": {"steps": 3},
    "pgd-l2": {"eps": "4 rms", "step": "1 rms", "steps": 3},
    "apgd-linf": {"steps": 4},
    "dct-pgd": {"eps": "4 rms", "step": "1 rms", "steps": 2},
    "pgd-l0": {"pixels": "0.1%", "steps": 4},
    "fmn-linf": {"steps": 3},
    "square-linf": {"queries": 6},
    "one-pixel": {"population": 8, "generations": 1},
    "hop-skip-jump-linf": {"queries": 40},
}
"""Numbers of each attack."""
MAX_GIGABYTES = 3.0
"""Bound of the whole process."""


def peak_gigabytes() -> float:
    """The most memory that this process held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9


def measure(name: str, height: int, width: int) -> dict[str, float]:
    """The peak before and after an attack, in this process."""
    torch.set_num_threads(1)
    tune_process()
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (1, 3, height, width), generator=rng, dtype=torch.uint8)
    detector = load_detector("resnet18-c32")
    label = (detector.logits(image / 255) > detector.threshold).long()
    before = peak_gigabytes()
    load_attack(name, **SETTINGS[name])(detector, image, label, full=True)
    return {"before": before, "peak": peak_gigabytes()}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("attacks", nargs="*", default=list(SETTINGS), metavar="ATTACK")
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--width", type=int, default=3000)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        sys.stdout.write(json.dumps(measure(args.attacks[0], args.height, args.width)))
        return 0
    sys.stdout.write(f"One photograph of {args.height} x {args.width}, whole process, GB\n")
    sys.stdout.write("| attack | before it | peak | must stay below |\n|---|---:|---:|---:|\n")
    size = ["--height", str(args.height), "--width", str(args.width)]
    for name in args.attacks:
        call = [sys.executable, "-m", "tests.benchmarks.memory", "--child", name, *size]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(call, capture_output=True, text=True, check=True, env=environment)
        found = json.loads(done.stdout)
        sys.stdout.write(
            f"| {name} | {found['before']:.2f} | {found['peak']:.2f} | {MAX_GIGABYTES:g} |\n"
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
