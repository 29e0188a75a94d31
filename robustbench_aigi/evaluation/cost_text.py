"""An estimate of an evaluation as text, and as an object for JSON."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from robustbench_aigi.data.trials import WORKER_START, PlannedTotals, planned_totals
from robustbench_aigi.evaluation.remote_costs import remote_lines
from robustbench_aigi.io.markdown import table_head, table_row

NOTHING_SENT = (
    "Nothing was sent for this plan. Rows that need gradients are not run on a black box."
)
COLUMN_TITLES = [
    "detector",
    "cells",
    "passes",
    "CPU minutes on one thread",
    "MB on the disk",
    "MB of memory per worker",
]
SHARED_NAME = "shared images"
COMMAND_NAME = "start and report"
COMMAND_MODES = ("start", "report")


def totals_of(table: pd.DataFrame, workers: int) -> PlannedTotals:
    """Return the totals of an estimate; detectors on other machines take nothing of this one.

    Args:
        table: of :func:`~robustbench_aigi.evaluation.costs.estimate`.
        workers: single-threaded processes that share the work.
    """
    return planned_totals(table[table["service"] == ""], workers, has_pool=workers > 1)


def to_text(table: pd.DataFrame, workers: int, held: Mapping[str, int]) -> str:
    """Return the estimate as text: one row per detector, the costliest cells, and the sums.

    Args:
        table: of :func:`~robustbench_aigi.evaluation.costs.estimate`.
        workers: single-threaded processes that share the work.
        held: peak memory of a process that computes a detector's cells, in bytes.
    """
    remote = remote_lines(table)
    if remote:
        remote = ["", NOTHING_SENT, *remote]
    totals = totals_of(table, workers)
    table = table[(table["service"] == "") & (table["attack"] != WORKER_START)]
    is_command = table["mode"].isin(COMMAND_MODES)
    names = table["detector"].mask(table["detector"] == "", SHARED_NAME)
    names = names.mask(is_command, COMMAND_NAME)
    lines = table_head(COLUMN_TITLES, numbers=len(COLUMN_TITLES) - 1)
    for name in dict.fromkeys(names):
        room = f"{held[name] / 1e6:.0f}" if name in held else ""
        lines.append(_line(name, table[names == name], room))
    costly = table[~is_command].sort_values("seconds", ascending=False).head(3)
    most = [
        f"{r['attack']} on {r['detector'] or 'its surrogate'} {r['seconds'] / 60:.1f}"
        for r in costly.to_dict("records")
    ]
    lines.append(f"\nmost of it, in CPU minutes: {'; '.join(most)}")
    return "\n".join([*lines, totals.to_text(), *remote])


def to_json(table: pd.DataFrame, workers: int) -> dict[str, Any]:
    """Return the totals, and the rows of the table with null for what is not known.

    Args:
        table: of :func:`~robustbench_aigi.evaluation.costs.estimate`.
        workers: single-threaded processes that share the work.
    """
    known = table.replace([math.inf, -math.inf], math.nan).astype(object)
    cells = known.where(known.notna(), None).to_dict("records")
    return {"totals": totals_of(table, workers)._asdict(), "cells": cells}


def _line(name: str, rows: pd.DataFrame, room: str) -> str:
    numbers = [
        f"{rows['passes'].sum():.2g}",
        f"{rows['seconds'].sum() / 60:.1f}",
        f"{rows['megabytes'].sum():.0f}",
    ]
    return table_row([name, len(rows), *numbers, room])
