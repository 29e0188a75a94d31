"""Independent pieces of work: done here, or shared by processes of one thread each."""

import functools
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch

from robustbench_aigi.memory import keep_freed_memory

T = TypeVar("T")
R = TypeVar("R")


def each(work: Callable[[T], R], items: Iterable[T], workers: int | None) -> Iterator[R]:
    """Yield the result of ``work`` for every item, in order, as they come.

    Args:
        workers: processes, each of one thread, so that sums come out the same however many there are; None works in
            this process with the threads torch has.
    """
    if workers is None:
        yield from map(work, items)
    elif workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield from map(work, items)
        finally:
            torch.set_num_threads(threads)
    else:
        from joblib import Parallel, delayed, parallel_config  # type: ignore[import-untyped]

        with parallel_config(backend="loky", inner_max_num_threads=1):
            pool = Parallel(n_jobs=workers, return_as="generator", batch_size=1)
            yield from pool(delayed(_in_worker)(work, item, os.getpid()) for item in items)


def _in_worker(work: Callable[[T], R], item: T, parent: int) -> R:
    keep_freed_memory()
    _end_with(parent)
    return work(item)


@functools.cache
def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a killed one cannot tell its workers, which would wait for ever."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
