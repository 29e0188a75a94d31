"""The error that a broken contract raises."""

from torch import Tensor


class ContractError(AssertionError):
    """A component breaks a rule of its contract; test frameworks report it as a failed test."""


def require(holds: bool | Tensor, rule: str) -> None:
    """Raise ``ContractError`` unless a rule holds.

    Args:
        holds: whether it does; a bool, or a tensor of one bool.
        rule: who must do what, as a sentence without a full stop.

    Raises:
        ContractError: it does not hold.

    Example:
        >>> require(1 + 1 == 2, "numbers must add up")
    """
    if not bool(holds):
        raise ContractError(f"{rule}.")
