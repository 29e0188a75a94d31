import subprocess
import sys

import pytest

from robustbench_aigi.workers import each

SLEEPING = """
import time
from robustbench_aigi.workers import each

def work(item):
    print("begun", flush=True)
    time.sleep(600)

list(each(work, range(2), 2))
"""


def double(item: int) -> int:
    return 2 * item


@pytest.mark.parametrize("workers", [None, 1, 2])
def test_results_come_in_order_whoever_works(workers: int | None) -> None:
    assert list(each(double, range(5), workers)) == [0, 2, 4, 6, 8]


def test_workers_of_a_killed_process_end() -> None:
    """They hold the other end of the pipe, which closes with the last of them."""
    run = subprocess.Popen([sys.executable, "-c", SLEEPING], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert [run.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
    run.kill()
    run.communicate(timeout=30)
