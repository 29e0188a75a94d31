"""Work done on this machine: in this process, or shared by a pool of processes of one thread
each.
"""

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
from typing import Any, TypeVar

import torch
from cloudpickle import dumps  # type: ignore[import-untyped]
from loky import get_reusable_executor  # type: ignore[import-untyped]

from robustbench_aigi.config.process import tune_process
from robustbench_aigi.errors import WorkersLostError

T = TypeVar("T")
R = TypeVar("R")
TRIES = 3
"""How often a piece of work may end its worker before the work is given up."""
AHEAD = 2
"""Pieces of work in flight for each worker: enough that none waits, few enough that memory does not
fill.
"""
IDLE = 60
"""Seconds after which idle workers end."""
LOST = (
    f"a worker process was killed {TRIES} times on the same piece of work, most likely for want of"
    " memory. Repeat the command with fewer --workers; it goes on from what is finished."
)


@dataclass(frozen=True)
class InProcessExecutor:
    """In this process, with so many threads; as many as torch has if None."""

    threads: int | None = None

    @property
    def workers(self) -> int:
        """Pieces of work at a time."""
        return 1

    def map_ordered(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield the result of ``work`` for every item, in order, as they come."""
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            yield from map(work, items)
        finally:
            torch.set_num_threads(before)


@dataclass(frozen=True)
class PoolExecutor:
    """Processes of one thread each. ``work`` goes to each of them once; a dead one is replaced, and
    its piece repeated.

    Results are those of ``InProcessExecutor(1)``, byte for byte.
    """

    workers: int

    def map_ordered(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield the result of ``work`` for every item, in order, as they come. Raises
        ``WorkersLostError``.
        """
        waiting, tries = iter(items), 0
        flying: deque[tuple[T, Future[R]]] = deque()
        with tempfile.TemporaryDirectory(prefix="robustbench-aigi-") as folder:
            path = Path(folder) / "work"
            path.write_bytes(dumps(work))
            try:
                while True:
                    for item in islice(waiting, AHEAD * self.workers - len(flying)):
                        flying.append((item, self._asked(path, item)))
                    if not flying:
                        return
                    try:
                        result = flying[0][1].result()
                    except BrokenProcessPool as error:
                        tries += 1
                        if tries >= TRIES:
                            raise WorkersLostError(LOST) from error
                        flying = deque((item, self._asked(path, item)) for item, _ in flying)
                        continue
                    tries = 0
                    flying.popleft()
                    yield result
            finally:
                for _, future in flying:
                    future.cancel()

    def _asked(self, path: Path, item: Any) -> "Future[Any]":
        variables = dict.fromkeys(
            ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"
        )
        variables["LOKY_MAX_MEMORY_LEAK_SIZE"] = (
            "1e15"  # else a worker ends when its passes take their memory
        )
        pool = get_reusable_executor(self.workers, timeout=IDLE, env=variables)
        answer: Future[Any] = pool.submit(_in_worker, str(path), item, os.getpid())
        return answer


def _in_worker(path: str, item: Any, parent: int) -> Any:
    tune_process()
    torch.set_num_threads(1)
    _end_with(parent)
    return _loaded(path)(item)


@functools.lru_cache(maxsize=1)
def _loaded(path: str) -> Callable[[Any], Any]:
    """The work, which this process's own parent wrote a moment ago."""
    loaded: Callable[[Any], Any] = pickle.loads(Path(path).read_bytes())
    return loaded


@functools.cache
def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed one cannot tell its workers, which would
    wait for ever.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
