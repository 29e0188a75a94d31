"""What each attack of a suite may change at most."""

from robustbench_aigi.attacks import Suite
from robustbench_aigi.attacks.base import Budget
from robustbench_aigi.attacks.loading import ADAPTER_MODULES


def budgets(suite: Suite) -> dict[str, Budget]:
    """Return the budget of each row of a suite.

    An attack at a ``module:Class`` address is left out: reading a dataset must not run code.

    Args:
        suite: of a built set.

    Raises:
        UnknownNameError: this installation has no such attack.
        ConfigError: an attack does not take the numbers.
    """
    return {row.id: row.built.budget() for row in suite.rows if _is_installed(row.attack)}


def _is_installed(attack: str) -> bool:
    return ":" not in attack or attack.partition(":")[0] in ADAPTER_MODULES
