"""The contract of an executor."""

from collections.abc import Iterator

from robustbench_aigi.errors import UserError
from robustbench_aigi.executors import Executor
from robustbench_aigi.testing.errors import ContractError, require

MANY_ITEMS = 1000
MAX_READ_AHEAD = 100
"""Items that an executor may take before its first result was read."""


def check_executor(executor: Executor) -> None:
    """Check that an executor keeps its contract.

    Results come in the order of the items; items are read when they are needed; and an error of the
    user reaches the caller as it was raised.

    Args:
        executor: tried on small functions.

    Raises:
        ContractError: a rule is broken.
    """
    require(executor.workers >= 1, f"workers of {executor} must be 1 or more")
    results = list(executor.map_ordered(_double, range(5)))
    require(
        results == [0, 2, 4, 6, 8],
        f"map_ordered of {executor} must give results in order, got {results}",
    )
    _check_error(executor)
    _check_reads_lazily(executor)


def _double(item: int) -> int:
    return 2 * item


def _rejected(item: int) -> int:
    raise UserError(f"no {item}")


def _check_error(executor: Executor) -> None:
    rule = f"map_ordered of {executor} must raise the UserError of a task unchanged"
    try:
        list(executor.map_ordered(_rejected, [3]))
    except UserError as error:
        require(str(error) == "no 3", f"{rule}, got the message {str(error)!r}")
    except Exception as error:
        raise ContractError(f"{rule}, got {type(error).__name__}.") from error
    else:
        raise ContractError(f"{rule}, it raised nothing.")


def _check_reads_lazily(executor: Executor) -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(MANY_ITEMS):
            taken.append(item)
            yield item

    results = executor.map_ordered(_double, items())
    require(next(results) == 0, f"map_ordered of {executor} must give the first result first")
    require(
        len(taken) < MAX_READ_AHEAD,
        f"map_ordered of {executor} must read items when they are needed, it read {len(taken)} of"
        f" {MANY_ITEMS} before its first result was read",
    )
    close = getattr(results, "close", None)
    if close is not None:
        close()
