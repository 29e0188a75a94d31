"""All executors give the same results, repeat the tasks of killed workers and leave no process."""

import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest

from robustbench_aigi.data import load_data
from robustbench_aigi.errors import UserError, WorkersLostError
from robustbench_aigi.executors import (
    Executor,
    InProcessExecutor,
    PoolExecutor,
    RayExecutor,
    load_executor,
)
from robustbench_aigi.executors.cluster import _result
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.testing import check_executor
from tests.finished_run import SUITE, detector

SLEEPING = """
import time
from robustbench_aigi.executors import PoolExecutor

def work(item):
    print("begun", flush=True)
    time.sleep(600)

list(PoolExecutor(2).map_ordered(work, range(2)))
"""


def executors() -> list[Executor]:
    try:
        import ray  # noqa: F401
    except ImportError:
        return [InProcessExecutor(), InProcessExecutor(1), PoolExecutor(2)]
    return [InProcessExecutor(), InProcessExecutor(1), PoolExecutor(2), RayExecutor(2)]


@pytest.mark.parametrize("by", executors(), ids=str)
def test_contract(by: Executor) -> None:
    check_executor(by)


@pytest.mark.parametrize("by", executors()[2:], ids=str)
def test_a_killed_workers_piece_is_done_again(by: Executor, tmp_path: Path) -> None:
    def dies_once(item: int) -> int:
        mark = tmp_path / str(item)
        if item in (2, 5) and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return 2 * item

    assert list(by.map_ordered(dies_once, range(9))) == [2 * i for i in range(9)]


@pytest.mark.parametrize("by", executors()[2:], ids=str)
def test_a_piece_that_kills_every_worker_ends_the_work(by: Executor) -> None:
    def dies(item: int) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return item

    with pytest.raises(WorkersLostError, match="3 times on the same task"):
        list(by.map_ordered(dies, [1]))


def test_a_worker_may_take_memory() -> None:
    def hungry(item: int) -> int:
        if item == 1:
            taken.append(bytearray(b"x") * 400_000_000)
            time.sleep(1.1)  # only then the pool looks
        return os.getpid()

    taken: list[bytearray] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(set(PoolExecutor(1).map_ordered(hungry, [0, 1, 2, 3]))) == 1


def test_what_does_not_go_together_is_told() -> None:
    assert load_executor() == InProcessExecutor(None)
    assert load_executor(workers=1) == InProcessExecutor(1)
    assert load_executor(workers=2) == PoolExecutor(2)
    assert load_executor("ray:auto") == RayExecutor(1, "auto")
    for text, workers, message in (
        ("poool", None, "no executor called 'poool'. Did you mean pool"),
        ("pool?gpus=1", None, "takes neither an address nor gpus"),
        ("local:HOST:6379", None, "takes neither an address nor gpus"),
        ("ray:HOST:6379?cpus=1", None, "takes one argument, gpus"),
        ("ray:HOST:6379?gpus=many", None, "takes one argument, gpus"),
        ("local", 2, "--executor pool"),
    ):
        with pytest.raises(UserError, match=message):
            load_executor(text, workers)
    assert load_executor("ray:HOST:6379?gpus=0.5", 3) == RayExecutor(3, "HOST:6379", 0.5)


def test_workers_of_a_killed_process_end() -> None:
    """They hold the other end of the pipe, which closes with the last of them."""
    run = subprocess.Popen([sys.executable, "-c", SLEEPING], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    assert [run.stdout.readline() for _ in range(2)] == ["begun\n"] * 2
    run.kill()
    run.communicate(timeout=30)


def test_an_evaluation_is_the_same_whoever_does_it(tiny_recipe: str, tmp_path: Path) -> None:
    made = [detector("good"), detector("other", 0.5)]
    seen = []
    for number, by in enumerate(executors()[1:]):
        out = tmp_path / str(number)
        evaluate(made, SUITE, load_data(tiny_recipe, split="test"), out, executor=by)
        kept = [
            *out.rglob("*.parquet"),
            *out.glob("matrix.*"),
            out / "adequacy.json",
            out / "plan.json",
        ]
        seen.append({path.relative_to(out): path.read_bytes() for path in kept})
        assert len(seen[0]) > 30
        assert seen[number] == seen[0], by


def test_a_detector_that_fails_fails_alike_whoever_asks_it(
    tiny_recipe: str, tmp_path: Path
) -> None:
    statuses = []
    for number, by in enumerate(executors()[1:]):
        broken = detector("broken")
        next(broken.children()).register_forward_pre_hook(lambda module, given: 1 / 0)
        out = tmp_path / str(number)
        matrix = evaluate([broken], SUITE, load_data(tiny_recipe, split="test"), out, executor=by)
        statuses.append(matrix["status"].tolist())
        note = (out / "cells" / "broken" / "clean-clean" / "error.txt").read_text()
        assert "Traceback" in note
    assert "error: clean: ZeroDivisionError: division by zero" in statuses[0]
    assert all(status == statuses[0] for status in statuses)


def test_a_cluster_that_lost_its_head_is_reported() -> None:
    ray = pytest.importorskip("ray")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        head = f"127.0.0.1:{closed.getsockname()[1]}"

    def get(asked: object, timeout: float) -> None:
        raise ray.exceptions.GetTimeoutError("not yet")

    where = SimpleNamespace(gcs_address=head)
    alone = SimpleNamespace(get=get, exceptions=ray.exceptions, get_runtime_context=lambda: where)
    with pytest.raises(
        WorkersLostError,
        match=rf"lost connection to the Ray head node {head} .*ray start --head",
    ):
        _result(alone, None)
