"""A Ray cluster that suffers: a worker killed, a node added, one removed, the head restarted; the
bytes stay the same.

    python -m tests.benchmarks.ray_faults [--images 120]

The cluster is simulated on this machine by Ray's own utilities. An evaluation of the shipped CNN
and ResNet on `mini` runs in a process of its own, against the same evaluation in one process.
Prints what each fault did.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster

from tests.benchmarks.kills import CLI, kept

WEIGHTS = Path("robustbench_aigi/weights")
DETECTORS = [str(WEIGHTS / f"{name}-cifake.safetensors") for name in ("cifake-cnn", "resnet18-c32")]
AFTER = 8.0
"""Seconds into the work at which the fault comes."""


def command(out: Path, images: int, *how: str) -> list[str]:
    own = [
        "evaluate",
        *DETECTORS,
        "--data",
        "mini",
        "--limit",
        str(images),
        "--attacks",
        "quick",
        "--out",
        str(out),
    ]
    return [*CLI, *own, *how]


def running() -> list[int]:
    """Processes of Ray's workers that do a piece of work."""
    found = subprocess.run(
        ["pgrep", "-f", "ray::_in_worker"], stdout=subprocess.PIPE, text=True, check=False
    )
    return [int(line) for line in found.stdout.split()]


class Bed:
    """A cluster of a head and one node, of one processor each."""

    def __init__(self) -> None:
        self.cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self.node: Any = self.cluster.add_node(num_cpus=1)

    @property
    def address(self) -> str:
        return str(self.cluster.address)

    def kill_worker(self) -> str:
        pids = running()
        for pid in pids[:1]:
            os.kill(pid, signal.SIGKILL)
        return f"killed worker {pids[:1]} of {len(pids)}"

    def add_node(self) -> str:
        self.cluster.add_node(num_cpus=1)
        return f"{len(self.cluster.list_all_nodes())} nodes"

    def remove_node(self) -> str:
        self.cluster.remove_node(self.node, allow_graceful=False)
        return f"{len(self.cluster.list_all_nodes())} nodes"

    def restart(self) -> str:
        """The head and all it knew are gone; another cluster takes its place."""
        self.close()
        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        self.node = self.cluster.add_node(num_cpus=1)
        return "another head"

    def close(self) -> None:
        self.cluster.shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=120)
    args = parser.parse_args()
    faults: dict[str, Callable[[Bed], str]] = {
        "none": lambda bed: "",
        "a worker is killed": Bed.kill_worker,
        "a node is added": Bed.add_node,
        "a node is removed": Bed.remove_node,
        "the head is restarted": Bed.restart,
    }
    sys.stdout.write(
        f"Ray {ray.__version__}\n\n| fault | what happened | commands | files that differ"
        " |\n|---|---|---:|---:|\n"
    )
    worst = 0
    with tempfile.TemporaryDirectory() as root:
        alone = Path(root) / "alone"
        subprocess.run(
            command(alone, args.images, "--workers", "1"), check=True, capture_output=True
        )
        for number, (name, fault) in enumerate(faults.items()):
            out, bed = Path(root) / str(number), Bed()
            try:
                message, commands = suffered(bed, fault, out, args.images)
            finally:
                bed.close()
            expected, found = kept(alone), kept(out)
            wrong = [n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n)]
            worst += len(wrong)
            sys.stdout.write(f"| {name} | {message} | {commands} | {len(wrong)} |\n")
            sys.stdout.flush()
    return int(worst > 0)


def suffered(bed: Bed, fault: Callable[[Bed], str], out: Path, images: int) -> tuple[str, int]:
    """Run the command through the fault, again if it stops; what was done, and how many commands it
    took.
    """
    message: list[str] = []
    for commands in range(1, 5):
        how = command(out, images, "--executor", f"ray:{bed.address}")
        with tempfile.TemporaryFile("w+") as said:
            with subprocess.Popen(how, stdout=subprocess.DEVNULL, stderr=said) as process:
                if commands == 1:
                    message.append(struck(bed, fault, process))
            if process.returncode == 0:
                return " ".join(message) or "nothing", commands
            said.seek(0)
            lines = said.read().strip().splitlines()
            message.append(
                "and the command said:"
                f" {next((n for n in lines if n.startswith('error')), lines[-1])[:160]}"
            )
    raise SystemExit(f"never ended: {message}")


def struck(bed: Bed, fault: Callable[[Bed], str], process: "subprocess.Popen[bytes]") -> str:
    """Wait until the command's work is under way, and let the fault come. Ray's utilities want the
    main thread.
    """
    while not running() and process.poll() is None:
        time.sleep(0.2)
    time.sleep(AFTER)
    late = " (too late: the command had ended)" if process.poll() is not None else ""
    return fault(bed) + late


if __name__ == "__main__":
    sys.exit(main())
