"""Contract of an executor, and the registry of all of them."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self, TypeVar

from robustbench_aigi.errors import UserError
from robustbench_aigi.registry import Registry

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class ExecutorOptions:
    """What a user may ask of an executor.

    Attributes:
        workers: single-threaded worker processes; None if not given.
        address: of a cluster, as ``HOST:PORT``; None if not given.
        gpus: GPUs of each worker.
    """

    workers: int | None = None
    address: str | None = None
    gpus: float = 0

    def check_no_cluster(self, name: str) -> None:
        """Raise ``UserError`` if there is an address or GPUs, which the executor cannot use.

        Args:
            name: of the executor.
        """
        if self.address or self.gpus:
            raise UserError(
                f"--address and --gpus are options of the executor ray, got the executor {name}."
                " Write --executor ray."
            )


class Executor(Protocol):
    """Runs tasks. With one thread per worker, every executor gives the same bytes."""

    @property
    def workers(self) -> int:
        """Number of tasks that run at the same time."""

    def map_ordered(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``work(item)`` for each item, in order.

        Args:
            work: called in a worker.
            items: read lazily, a few ahead of the results.
        """

    @classmethod
    def from_options(cls, options: ExecutorOptions) -> Self:
        """Build the executor from ``options``. Raises ``UserError`` for those it does not take."""


executors: Registry[Executor] = Registry("executor", __package__)


def load_executor(
    name: str | None = None,
    workers: int | None = None,
    address: str | None = None,
    gpus: float = 0,
) -> Executor:
    """Return the executor called ``name``.

    Args:
        name: a registered name: ``local``, ``pool`` or ``ray``. None means ``ray`` where there is
            an ``address``, ``pool`` for more than one worker, else ``local``.
        workers: single-threaded worker processes; None leaves ``local`` torch's own threads.
        address: of a Ray cluster, as ``HOST:PORT``.
        gpus: GPUs of each of Ray's workers.

    Raises:
        UnknownNameError: no executor has this name.
        UserError: options that do not go together.
    """
    options = ExecutorOptions(workers, address, gpus)
    if name is None:
        name = "ray" if address else "local"
        if (workers or 1) > 1 and not address:
            name = "pool"
    return executors.get(name).from_options(options)
