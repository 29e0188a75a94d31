"""From a detector's cells to its rows of the matrix."""

from collections.abc import Sequence

import pandas as pd

from robustbench_aigi.attacks import Suite
from robustbench_aigi.attacks.suites import FROM
from robustbench_aigi.evaluation.adequacy import Cells, names
from robustbench_aigi.evaluation.cells import Table
from robustbench_aigi.evaluation.families import met
from robustbench_aigi.evaluation.flags import Flag
from robustbench_aigi.evaluation.metrics import summarise, worst_case
from robustbench_aigi.executors import HERE, Executor

MODES = ("static", "white-box")


def rows_of(
    detector: str,
    threshold: float,
    seen: Sequence[str],
    suite: Suite,
    cells: Cells,
    flags: Sequence[Flag],
    executor: Executor = HERE,
) -> list[dict[str, object]]:
    """A detector's part of the matrix; numbers stay empty where a cell has none.

    Args:
        threshold, seen: the card's. cells: its tables, or the statuses in their place. executor: who resamples them.
    """
    built = {row.id: row.built for row in suite.rows}
    gradients = {name for name, attack in built.items() if attack.access == "gradients"}
    tables = {key: ("ok", table) for key, table in cells.items()}
    # What seeks the smallest change is held to no size: with it the worst case would be 0 of whatever detector.
    bounded = [name for name, attack in built.items() if not attack.seeks]
    there = [mode for mode in MODES if any((mode, name) in cells for name in bounded)]
    tables |= {(mode, "worst-case"): _worst(bounded, cells, mode) for mode in there}
    heads: list[dict[str, object]] = []
    for (mode, attack), (status, table) in tables.items():
        head: dict[str, object] = {"detector": detector, "mode": mode, "attack": attack, "status": status}
        if (own := attack.partition(FROM)[0]) in built:
            head["seen"] = met(built[own], seen)
        if mode == "white-box":
            head["flags"] = names(flags, attack, attack in gradients)
        heads.append(head | {"status": table} if isinstance(table, str) else head)
    asked = [(table, mode != "white-box" and attack != "worst-case") for (mode, attack), (_, table) in tables.items()]

    def summarised(item: tuple[Table, bool]) -> list[dict[str, object]]:
        table, ranked = item
        return [{}] if isinstance(table, str) else summarise(table, threshold, ranked)

    found = executor.each(summarised, asked)
    return [head | row for head, rows in zip(heads, found, strict=True) for row in rows]


def _worst(attacks: Sequence[str], cells: Cells, mode: str) -> tuple[str, Table]:
    """Status and table of the adversary who has every one of these attacks, of a mode, that could be measured."""
    clean = cells["clean", "clean"]
    met = {name: cells.get((mode, name), cells.get(("static", name))) for name in attacks}
    there = [table for table in met.values() if isinstance(table, pd.DataFrame)]
    lost = [
        f"{name} {'failed' if table.startswith('error') else table.partition(':')[0]}"
        for name, table in met.items()
        if isinstance(table, str)
    ]
    status = f"incomplete: {', '.join(lost)}" if lost else "ok"
    return (status, worst_case(clean, there)) if there and isinstance(clean, pd.DataFrame) else (status, status)
