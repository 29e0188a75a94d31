"""Tasks on a Ray cluster: one that Ray starts on this machine, or one at an address."""

import functools
import hashlib
import math
import os
import pickle
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self, TypeVar, final

import torch
from cloudpickle import dumps  # type: ignore[import-untyped]

from robustbench_aigi.config.process import tune_process
from robustbench_aigi.errors import UnavailableError, WorkersLostError
from robustbench_aigi.executors.base import ExecutorOptions, executors
from robustbench_aigi.executors.pool import MAX_TRIES, TASKS_AHEAD
from robustbench_aigi.extras import install_command

T = TypeVar("T")
R = TypeVar("R")
POLL_SECONDS = 1.0
"""Seconds between two checks of the cluster's size, and of whether its head answers."""


@executors.add("ray")
@final
@dataclass(frozen=True)
class RayExecutor:
    """Runs tasks in Ray's workers, one thread each.

    Ray schedules the tasks, repeats those of a dead worker and uses nodes that join. A worker keeps
    ``work``, and the detectors in it, from one task to the next.

    Attributes:
        workers: processors of the cluster that Ray starts on this machine. Not used with an
            ``address``, where all processors work.
        address: of a running cluster, as ``HOST:PORT``.
        gpus: GPUs of each worker; a fraction is possible.
    """

    workers: int
    address: str | None = None
    gpus: float = 0.0

    @classmethod
    def from_options(cls, options: ExecutorOptions) -> Self:
        """Build the executor from all ``options``."""
        return cls(options.workers or 1, options.address, options.gpus)

    def map_ordered(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``work(item)`` for each item, in order, as results arrive.

        Args:
            work: called in the workers.
            items: read lazily, a few ahead of the results.

        Raises:
            UnavailableError: Ray is not installed, or no cluster answers.
            WorkersLostError: workers died on the same task, or the cluster's head is gone.
        """
        ray = self._connect()
        data = dumps(work)
        stored = ray.put(data)
        key = hashlib.sha256(data).hexdigest()
        task = _remote().options(num_cpus=1, num_gpus=self.gpus, max_retries=MAX_TRIES - 1)
        size = _ClusterSize(ray)
        waiting = iter(items)
        pending = deque[Any]()
        try:
            while True:
                free = TASKS_AHEAD * size.workers() - len(pending)
                for item in islice(waiting, max(0, free)):
                    pending.append(task.remote(key, [stored], item))
                if not pending:
                    return
                yield _result(ray, pending.popleft())
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except (
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.OutOfMemoryError,
            ray.exceptions.NodeDiedError,
        ) as error:
            raise WorkersLostError(
                f"a worker of the Ray cluster died {MAX_TRIES} times on the same task, probably"
                " out of memory. Give each worker more memory and rerun the command to resume."
            ) from error
        finally:
            for one in pending:
                ray.cancel(one, force=True)

    def _connect(self) -> Any:
        """Return Ray, connected to the cluster."""
        try:
            import ray
        except ImportError as error:
            raise UnavailableError(
                f"Ray is not installed. Type `{install_command('ray')}`."
            ) from error
        if ray.is_initialized():
            return ray
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        try:
            if self.address is None:
                # Ray's default of 15 would put its workers behind everything else on this machine
                os.environ.setdefault("RAY_worker_niceness", "0")
                ray.init(
                    "local", num_cpus=self.workers, include_dashboard=False, log_to_driver=False
                )
            else:
                ray.init(self.address, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            where = f"at {self.address}" if self.address else "on this machine"
            raise UnavailableError(
                f"no Ray cluster {where}: {error}. Start one with `ray start --head`."
            ) from error
        return ray


class _ClusterSize:
    """Processors of a cluster, counted again now and then, because nodes may join."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._workers = 1
        self._counted_at = -math.inf

    def workers(self) -> int:
        if time.monotonic() - self._counted_at >= POLL_SECONDS:
            self._workers = max(1, int(self._ray.cluster_resources().get("CPU", 1)))
            self._counted_at = time.monotonic()
        return self._workers


def _result(ray: Any, task: Any) -> Any:
    """Wait for a result while the cluster's head answers.

    Without a head, Ray itself would wait for a minute and end the process.
    """
    head = str(ray.get_runtime_context().gcs_address)
    while True:
        try:
            return ray.get(task, timeout=POLL_SECONDS)
        except ray.exceptions.GetTimeoutError:
            _check_head(head)


def _check_head(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=POLL_SECONDS).close()
    except OSError as error:
        raise WorkersLostError(
            f"lost connection to the Ray head node {address} ({error}). Start one with `ray start"
            " --head` and rerun the command with --executor ray:HOST:PORT to resume."
        ) from error


@functools.cache
def _remote() -> Any:
    """Return the function that Ray sends to its workers, once for all kinds of work."""
    import ray

    return ray.remote(_in_worker)


_WORK: dict[str, Callable[[Any], Any]] = {}


def _in_worker(key: str, stored: list[Any], item: Any) -> Any:
    """Do one task in a worker; ``stored`` is a list, so that Ray does not load the work itself."""
    if key not in _WORK:
        import ray

        tune_process()
        torch.set_num_threads(1)
        _WORK.clear()
        _WORK[key] = pickle.loads(ray.get(stored[0]))
    return _WORK[key](item)
