"""Tasks shared by a pool of single-threaded processes on this machine."""

import functools
import os
import pickle
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self, TypeVar, final

import torch
from cloudpickle import dumps  # type: ignore[import-untyped]
from loky import get_reusable_executor  # type: ignore[import-untyped]

from robustbench_aigi.config.process import tune_process
from robustbench_aigi.errors import WorkersLostError
from robustbench_aigi.executors.base import ExecutorOptions, executors

T = TypeVar("T")
R = TypeVar("R")
MAX_TRIES = 3
"""Times that a task may kill its worker before the run ends."""
TASKS_AHEAD = 2
"""Tasks in flight per worker: enough that no worker waits, few enough to bound memory."""
IDLE_SECONDS = 60
"""Seconds after which idle workers end."""
LOST_MESSAGE = (
    f"a worker process was killed {MAX_TRIES} times on the same task, probably out of memory."
    " Rerun the command with fewer --workers (in a training, --config workers=1) to resume."
)


@executors.add("pool")
@final
@dataclass(frozen=True)
class PoolExecutor:
    """Runs tasks in single-threaded processes; a dead process is replaced and its task repeated.

    Results equal those of ``InProcessExecutor(1)``, byte for byte.

    Attributes:
        workers: number of processes. Each of them gets ``work`` once.
    """

    workers: int

    @classmethod
    def from_options(cls, options: ExecutorOptions) -> Self:
        """Build the executor: ``workers`` of the ``options``, or 1."""
        options.check_no_cluster("pool")
        return cls(options.workers or 1)

    def map_ordered(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``work(item)`` for each item, in order, as results arrive.

        Args:
            work: called in the workers.
            items: read lazily, a few ahead of the results.

        Raises:
            WorkersLostError: a task killed its worker :data:`MAX_TRIES` times.
        """
        waiting = iter(items)
        tries = 0
        pending: deque[tuple[T, Future[R]]] = deque()
        with tempfile.TemporaryDirectory(prefix="robustbench-aigi-") as folder:
            path = Path(folder) / "work"
            path.write_bytes(dumps(work))
            try:
                while True:
                    for item in islice(waiting, TASKS_AHEAD * self.workers - len(pending)):
                        pending.append((item, self._submit(path, item)))
                    if not pending:
                        return
                    try:
                        result = pending[0][1].result()
                    except BrokenProcessPool as error:
                        tries += 1
                        if tries >= MAX_TRIES:
                            raise WorkersLostError(LOST_MESSAGE) from error
                        pending = deque((item, self._submit(path, item)) for item, _ in pending)
                        continue
                    tries = 0
                    pending.popleft()
                    yield result
            finally:
                for _, future in pending:
                    future.cancel()

    def _submit(self, path: Path, item: Any) -> "Future[Any]":
        variables = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
        )
        # otherwise loky ends a worker whose memory grows, as it does in any forward pass
        variables["LOKY_MAX_MEMORY_LEAK_SIZE"] = "1e15"
        pool = get_reusable_executor(self.workers, timeout=IDLE_SECONDS, env=variables)
        answer: Future[Any] = pool.submit(_in_worker, str(path), item, os.getpid())
        return answer


def _in_worker(path: str, item: Any, parent: int) -> Any:
    """Do one task in a worker."""
    tune_process()
    torch.set_num_threads(1)
    _exit_with(parent)
    return _loaded(path)(item)


@functools.lru_cache(maxsize=1)
def _loaded(path: str) -> Callable[[Any], Any]:
    """Load the work that the parent of this process wrote."""
    loaded: Callable[[Any], Any] = pickle.loads(Path(path).read_bytes())
    return loaded


@functools.cache
def _exit_with(parent: int) -> None:
    """Exit when the parent process is gone: a killed parent cannot end its workers itself."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
