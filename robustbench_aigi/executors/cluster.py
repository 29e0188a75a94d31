"""Work done by a Ray cluster: one that Ray starts on this machine, or one at an address."""

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
"""Seconds between two looks at how many processors there are, and whether the head still answers.
"""


@executors.add("ray")
@final
@dataclass(frozen=True)
class RayExecutor:
    """Runs tasks in Ray's workers, one thread each.

    Ray schedules the tasks, repeats those of a dead worker and uses nodes that join. A worker keeps
    ``work``, and the detectors in it, from one task to the next.

    Attributes:
        workers: processors of the cluster that Ray starts on this machine. Without meaning at an
            ``address``, where all processors are used.
        address: of a running cluster, as ``HOST:PORT``.
        gpus: GPUs of each worker; a fraction is possible.
    """

    workers: int
    address: str | None = None
    gpus: float = 0.0

    @classmethod
    def from_options(cls, options: ExecutorOptions) -> Self:
        """Take ``workers``, ``address`` and ``gpus``."""
        return cls(options.workers or 1, options.address, options.gpus)

    def map_ordered(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield the result of ``work`` for every item, in order, as they come.

        Raises:
            UnavailableError: Ray is not installed, or no cluster answers. WorkersLostError: workers
                died on the same piece, or the cluster's head is gone.
        """
        ray = self._started()
        data = dumps(work)
        kept, key = ray.put(data), hashlib.sha256(data).hexdigest()
        ask = _remote().options(num_cpus=1, num_gpus=self.gpus, max_retries=MAX_TRIES - 1)
        waiting, flying = iter(items), deque[Any]()
        workers, counted = 1, -math.inf
        try:
            while True:
                if time.monotonic() - counted >= POLL_SECONDS:
                    workers, counted = (
                        max(1, int(ray.cluster_resources().get("CPU", 1))),
                        time.monotonic(),
                    )
                for item in islice(waiting, max(0, TASKS_AHEAD * workers - len(flying))):
                    flying.append(ask.remote(key, [kept], item))
                if not flying:
                    return
                yield _got(ray, flying.popleft())
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
            for one in flying:
                ray.cancel(one, force=True)

    def _started(self) -> Any:
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
                os.environ.setdefault(
                    "RAY_worker_niceness", "0"
                )  # else anything else that runs here comes first
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


def _got(ray: Any, asked: Any) -> Any:
    """The result, for as long as the cluster has a head: Ray itself would wait a minute and end the
    process.
    """
    head = str(ray.get_runtime_context().gcs_address)
    while True:
        try:
            return ray.get(asked, timeout=POLL_SECONDS)
        except ray.exceptions.GetTimeoutError:
            host, _, port = head.rpartition(":")
            try:
                socket.create_connection((host, int(port)), timeout=POLL_SECONDS).close()
            except OSError as error:
                raise WorkersLostError(
                    f"lost connection to the Ray head node {head} ({error}). Start one with"
                    " `ray start --head` and rerun the command with --executor ray:HOST:PORT to"
                    " resume."
                ) from error


@functools.cache
def _remote() -> Any:
    """What Ray sends to its workers: once, not for each kind of work."""
    import ray

    return ray.remote(_in_worker)


_HELD: dict[str, Callable[[Any], Any]] = {}


def _in_worker(key: str, kept: list[Any], item: Any) -> Any:
    if key not in _HELD:
        import ray

        tune_process()
        torch.set_num_threads(1)
        _HELD.clear()
        _HELD[key] = pickle.loads(ray.get(kept[0]))
    return _HELD[key](item)
