"""What each attack of a suite may change at most."""

from robustbench_aigi.attacks import Suite
from robustbench_aigi.attacks.base import Budget
from robustbench_aigi.attacks.loading import ADAPTER_MODULES


def budgets(suite: Suite) -> dict[str, Budget]:
    """Row id to budget. An attack by its ``module:Class`` address is left out: a data set must not
    run code.

    Raises:
        UnknownNameError, ConfigError: this installation has no such attack.
    """
    return {row.id: row.built.budget() for row in suite.rows if _own(row.attack)}


def _own(attack: str) -> bool:
    return ":" not in attack or attack.partition(":")[0] in ADAPTER_MODULES
