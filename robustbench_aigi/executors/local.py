"""Tasks in this process."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Self, TypeVar, final

import torch

from robustbench_aigi.errors import UserError
from robustbench_aigi.executors.base import ExecutorOptions, executors

T = TypeVar("T")
R = TypeVar("R")


@executors.add("local")
@final
@dataclass(frozen=True)
class InProcessExecutor:
    """Runs tasks one after another in this process.

    Attributes:
        threads: torch's threads meanwhile; None leaves them as they are.
    """

    threads: int | None = None

    @classmethod
    def from_options(cls, options: ExecutorOptions) -> Self:
        """Build the executor: ``workers`` of the ``options`` may be 1, which means one thread."""
        options.check_no_cluster("local")
        if (options.workers or 1) > 1:
            raise UserError(
                f"the executor local has one worker, got --workers {options.workers}."
                " Write --executor pool."
            )
        return cls(options.workers)

    @property
    def workers(self) -> int:
        """Number of tasks that run at the same time."""
        return 1

    def map_ordered(self, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        """Yield ``work(item)`` for each item, in order.

        Args:
            work: called in this process.
            items: read lazily.
        """
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            yield from map(work, items)
        finally:
            torch.set_num_threads(before)


IN_PROCESS = InProcessExecutor()
"""Executor that leaves torch's threads as they are."""
