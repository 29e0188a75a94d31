"""Files from strangers, mutated: each must be read, or rejected in one message, in a minute, and
write nothing outside.

    python -m tests.benchmarks.mutations [--examples 1000] [--seed 0]

Prints, for each kind of file, how many were read and how many rejected by which message, and every
one that crashed.
"""

import argparse
import shutil
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.mutations import CASES, mutated, outcome


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=1000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    each, crashed = -(-args.examples // len(CASES)), 0
    sys.stdout.write("| file | mutated | read | rejected | crashed |\n|---|---:|---:|---|---:|\n")
    for name in CASES:
        found = tried(name, each, args.seed)
        rejected = ", ".join(
            f"{count} {kind}" for kind, count in found.items() if kind not in ("read", "crashed")
        )
        row = (name, found.total(), found["read"], rejected or "none", found["crashed"])
        sys.stdout.write(f"| {' | '.join(map(str, row))} |\n")
        sys.stdout.flush()
        crashed += found["crashed"]
    return int(crashed > 0)


def tried(name: str, examples: int, number: int) -> Counter[str]:
    """Outcomes of so many mutations of one kind of file."""
    case, found = CASES[name], Counter[str]()
    with tempfile.TemporaryDirectory() as root:
        made = Path(root) / "made"
        made.mkdir()
        case.make(made)
        whole = (made / case.target).read_bytes()

        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(st.data())
        def one(data: st.DataObject) -> None:
            folder = Path(root) / "root" / "work"
            shutil.rmtree(folder.parent, ignore_errors=True)
            shutil.copytree(made, folder)
            try:
                found[outcome(case, folder, data.draw(mutated(whole)))] += 1
            except (Exception, KeyboardInterrupt) as error:
                if isinstance(error, KeyboardInterrupt) or "hypothesis" in type(error).__module__:
                    raise
                found["crashed"] += 1
                sys.stderr.write(f"{name}: {traceback.format_exc()}\n")

        one()
    return found


if __name__ == "__main__":
    sys.exit(main())
