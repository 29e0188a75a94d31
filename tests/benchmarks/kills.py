"""SIGKILL at random moments: every command, repeated, must end with the bytes of a run that nobody
killed.

    python -m tests.benchmarks.kills [build train evaluate report] [--kills 50] [--seed 0]

Each of the commands is killed so often. A command that ends before it is
killed is compared, file by file, with the run that was left alone, and begins again from nothing.
"""

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

CLI = (sys.executable, "-m", "robustbench_aigi")
TIMES = ("times.jsonl", "report.html", "run.json", ".lock")
"""Files that tell how long something took, or by which command: no two runs have those in common.
"""


class Job(NamedTuple):
    """A command that writes into a folder, and what must be the same of two folders."""

    command: Callable[[Path, Path], list[str]]
    files: Callable[[Path], Mapping[str, bytes]]


class Count(NamedTuple):
    """How a command fared."""

    kills: int
    ends: int
    differ: int
    seconds: float


def kept(folder: Path) -> dict[str, bytes]:
    """Files by their place, but for those that tell times."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in TIMES
    }


def trained(folder: Path) -> dict[str, bytes]:
    """The checkpoint, the log without its last column, which is of seconds, and the names of all
    there is.
    """
    log = [line.rpartition(",")[0] for line in (folder / "mine.csv").read_text().splitlines()]
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    return {
        "mine.safetensors": (folder / "mine.safetensors").read_bytes(),
        "log": "\n".join(log).encode(),
        "names": "\n".join(names).encode(),
    }


def reported(folder: Path) -> dict[str, bytes]:
    """All of a report, the page too: it is of one run, whose times are what they are."""
    return {
        path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name != ".lock"
    }


JOBS = {
    "build": Job(
        lambda made, out: [
            "build",
            "mini",
            "--attacks",
            "quick",
            "--surrogate",
            str(made / "cnn.safetensors"),
            "--limit",
            "40",
            "--samples",
            "4",
            "--workers",
            "2",
            "--out",
            str(out),
        ],
        kept,
    ),
    "train": Job(
        lambda made, out: [
            "train",
            "cifake-cnn",
            "--data",
            "mini",
            "--limit",
            "300",
            "--epochs",
            "8",
            "--method",
            "pgd",
            "--out",
            str(out / "mine.safetensors"),
        ],
        trained,
    ),
    "evaluate": Job(
        lambda made, out: [
            "evaluate",
            str(made / "cnn.safetensors"),
            "--data",
            "mini",
            "--limit",
            "40",
            "--attacks",
            "quick",
            "--workers",
            "2",
            "--out",
            str(out),
        ],
        kept,
    ),
    "report": Job(lambda made, out: ["report", str(made / "run"), "--out", str(out)], reported),
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "commands", nargs="*", help="build, train, evaluate, report; all if left out"
    )
    parser.add_argument("--kills", type=int, default=50, help="of each command")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, worst = random.Random(args.seed), 0
    sys.stdout.write(
        "| command | alone, s | kills | ends compared | files that differ"
        " |\n|---|---:|---:|---:|---:|\n"
    )
    with tempfile.TemporaryDirectory() as root:
        made = Path(root)
        must(
            [
                "train",
                "cifake-cnn",
                "--data",
                "mini",
                "--limit",
                "300",
                "--epochs",
                "2",
                "--out",
                str(made / "cnn.safetensors"),
            ]
        )
        must(JOBS["evaluate"].command(made, made / "run"))
        for name in args.commands or JOBS:
            count = killed(JOBS[name], made, made / name, args.kills, rng)
            sys.stdout.write(
                f"| {name} | {count.seconds:.0f} | {count.kills} | {count.ends} |"
                f" {count.differ} |\n"
            )
            sys.stdout.flush()
            worst += count.differ
    return int(worst > 0)


def must(arguments: list[str]) -> None:
    """Run a command to its end."""
    subprocess.run([*CLI, *arguments], check=True, capture_output=True)


def killed(job: Job, made: Path, folder: Path, kills: int, rng: random.Random) -> Count:
    """Kill a command so often, at moments spread over all it does; compare it whenever it ends."""
    alone = folder / "alone"
    alone.mkdir(parents=True)
    began = time.monotonic()
    must(job.command(made, alone))
    whole, expected = time.monotonic() - began, job.files(alone)
    done = ends = differ = 0
    while done < kills or not ends:
        out = folder / f"out-{ends}"
        out.mkdir(exist_ok=True)
        process = subprocess.Popen(
            [*CLI, *job.command(made, out)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            _, said = process.communicate(
                timeout=rng.uniform(0.2, 1.1) * whole if done < kills else None
            )
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            done += 1
            continue
        if process.returncode:
            raise SystemExit(f"{job.command(made, out)}: {said.decode()}")
        found = job.files(out)
        wrong = sorted(
            name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
        )
        if wrong:
            sys.stderr.write(f"{out}: {', '.join(wrong)}\n")
        differ += len(wrong)
        shutil.rmtree(out)
        ends += 1
    return Count(done, ends, differ, whole)


if __name__ == "__main__":
    sys.exit(main())
