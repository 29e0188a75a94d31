"""Who does independent pieces of work: this process, a pool of processes, or a Ray cluster. Results
are the same.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

from robustbench_aigi.errors import UserError
from robustbench_aigi.executors.cluster import RayExecutor
from robustbench_aigi.executors.local import InProcessExecutor, PoolExecutor
from robustbench_aigi.executors.sending import bound_here, write_bound

__all__ = [
    "IN_PROCESS",
    "Executor",
    "InProcessExecutor",
    "PoolExecutor",
    "RayExecutor",
    "bound_here",
    "executor",
    "write_bound",
]

T = TypeVar("T")
R = TypeVar("R")
IN_PROCESS = InProcessExecutor()
NAMES = ("here", "pool", "ray")


class Executor(Protocol):
    """What does pieces of work. At equal threads a worker, every executor gives the same bytes."""

    @property
    def workers(self) -> int:
        """Pieces of work at a time."""

    def map_ordered(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield the result of ``work`` for every item, in order, as they come; ``items`` are asked
        for when needed.
        """


def executor(
    name: str | None = None, workers: int | None = None, address: str | None = None, gpus: float = 0
) -> Executor:
    """An executor by name: here, pool or ray.

    Args:
        name: if None, ``pool`` where ``workers`` or more than one is asked for, else ``here``.
        workers: processes of one thread each; in this process alone None leaves torch its threads.
        address: of a Ray cluster. gpus: of each of Ray's workers.

    Raises:
        UserError: an unknown name, or what does not go with it.
    """
    name = name or ("ray" if address else "pool" if (workers or 1) > 1 else "here")
    if name not in NAMES:
        raise UserError(f"no executor called {name!r}. Write one of {', '.join(NAMES)}.")
    if name != "ray" and (address or gpus):
        raise UserError(
            f"an address and GPUs a worker are for Ray, got the executor {name}. Write --executor"
            " ray."
        )
    if name == "ray":
        return RayExecutor(workers or 1, address, gpus)
    if name == "pool":
        return PoolExecutor(workers or 1)
    if (workers or 1) > 1:
        raise UserError(
            f"the executor here is one worker, got --workers {workers}. Write --executor pool."
        )
    return InProcessExecutor(workers)
