"""From a detector's cells to its rows of the matrix."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pandas as pd

from robustbench_aigi.attacks import Suite
from robustbench_aigi.attacks.suites import SURROGATE_SEPARATOR
from robustbench_aigi.evaluation.adequacy.families import met
from robustbench_aigi.evaluation.adequacy.flags import Flag
from robustbench_aigi.evaluation.adequacy.judge import WORST_CASES, Cells, names
from robustbench_aigi.evaluation.aimed import CONTROL
from robustbench_aigi.evaluation.cells import Table
from robustbench_aigi.evaluation.metrics import FrozenThresholds, summarise, worst_case
from robustbench_aigi.executors import IN_PROCESS, Executor

MODES = ("static", "white-box")


def matrix_rows(
    detector: str,
    threshold: float,
    seen: Sequence[str],
    suite: Suite,
    cells: Cells,
    flags: Sequence[Flag],
    replaced: Mapping[str, str] = MappingProxyType({}),
    executor: Executor = IN_PROCESS,
) -> list[dict[str, object]]:
    """A detector's part of the matrix; numbers stay empty where a cell has none.

    Args:
        threshold, seen: the card's. cells: its tables, or the statuses in their place. executor:
            who resamples them.
        replaced: rows to the attack that took the place of their own.
    """
    built = {row.id: row.built for row in suite.rows}
    full = {row.id for row in suite.rows if row.strength == "full"}
    clean = cells["clean", "clean"]
    frozen = FrozenThresholds.of(clean) if isinstance(clean, pd.DataFrame) else None
    tables = {key: ("ok", table) for key, table in cells.items()}
    # What seeks the smallest change is held to no size: with it the worst case would be 0 of
    # whatever detector.
    bounded = [name for name, attack in built.items() if not attack.minimises]
    there = [mode for mode in MODES if any((mode, name) in cells for name in bounded)]
    for mode in there:
        tables |= {(mode, name): worst for name, worst in _worst(bounded, cells, mode).items()}
    heads: list[dict[str, object]] = []
    for (mode, attack), (status, table) in tables.items():
        head: dict[str, object] = {
            "detector": detector,
            "mode": mode,
            "attack": attack,
            "status": status,
        }
        own = attack.partition(SURROGATE_SEPARATOR)[0].removesuffix(CONTROL)
        if own in built:
            head["seen"] = met(built[own], seen)
        if mode == "white-box" and own in replaced:
            head["replaced_by"] = replaced[own]
        if not attack.endswith(CONTROL):
            head["flags"] = names(flags, mode, attack, built[own].access if own in built else "")
        heads.append(head | {"status": table} if isinstance(table, str) else head)
    asked = [
        (table, attack not in WORST_CASES and (mode != "white-box" or attack in full))
        for (mode, attack), (_, table) in tables.items()
    ]

    def summarised(item: tuple[Table, bool]) -> list[dict[str, object]]:
        table, ranked = item
        return [{}] if isinstance(table, str) else summarise(table, threshold, ranked, frozen)

    found = executor.map_ordered(summarised, asked)
    return [head | row for head, rows in zip(heads, found, strict=True) for row in rows]


def _worst(attacks: Sequence[str], cells: Cells, mode: str) -> dict[str, tuple[str, Table]]:
    """Status and table of the adversary who has every one of these attacks, of a mode, that could
    be measured.

    ``worst-case`` is over the images that every one of them met. Where a row has a limit,
    ``worst-case-bound`` is over all images: it takes an image that a row never met as not fooled,
    so it is an upper bound.
    """
    clean = cells["clean", "clean"]
    met = {name: cells.get((mode, name), cells.get(("static", name))) for name in attacks}
    there = [table for table in met.values() if isinstance(table, pd.DataFrame)]
    lost = [
        f"{name} {'failed' if table.startswith('error') else table.partition(':')[0]}"
        for name, table in met.items()
        if isinstance(table, str)
    ]
    status = f"incomplete: {', '.join(lost)}" if lost else "ok"
    if not there or not isinstance(clean, pd.DataFrame):
        return {"worst-case": (status, status)}
    whole = worst_case(clean, there)
    ids = set(clean["id"]).intersection(*(table["id"] for table in there))
    if len(ids) == len(clean):
        return {"worst-case": (status, whole)}
    common = whole[whole["id"].isin(ids)].reset_index(drop=True)
    return {"worst-case": (status, common), "worst-case-bound": (status, whole)}
