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
                f"the executor {name} takes neither an address nor gpus. Write --executor"
                " 'ray:HOST:6379?gpus=1'."
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


def load_executor(text: str | None = None, workers: int | None = None) -> Executor:
    """Return the executor that a text describes.

    Args:
        text: ``NAME``, ``NAME:ADDRESS`` or ``NAME:ADDRESS?gpus=N``, such as ``pool`` or
            ``ray:HOST:6379?gpus=0.5``, where ``gpus`` is per worker. None means ``pool`` for more
            than one worker, else ``local``.
        workers: single-threaded worker processes; None leaves ``local`` torch's own threads.

    Raises:
        UnknownNameError: no executor has this name.
        UserError: options that do not go together, or a text of another form.
    """
    if text is None:
        text = "pool" if (workers or 1) > 1 else "local"
    place, _, query = text.partition("?")
    name, _, address = place.partition(":")
    options = ExecutorOptions(workers, address or None, _gpus_in(query, text))
    return executors.get(name).from_options(options)


def _gpus_in(query: str, text: str) -> float:
    if not query:
        return 0.0
    key, _, value = query.partition("=")
    try:
        gpus = float(value)
    except ValueError:
        gpus = -1.0
    if key != "gpus" or gpus < 0:
        raise UserError(
            f"an executor takes one argument, gpus, got {text!r}. Write ray:HOST:6379?gpus=1."
        )
    return gpus
