"""From the cells of a detector to its rows of the matrix."""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustbench_aigi.attacks import Attack, Suite
from robustbench_aigi.attacks.suites import SURROGATE_SEPARATOR
from robustbench_aigi.evaluation.adequacy.families import met
from robustbench_aigi.evaluation.adequacy.flags import Flag
from robustbench_aigi.evaluation.adequacy.judge import names
from robustbench_aigi.evaluation.aimed import CONTROL_SUFFIX
from robustbench_aigi.evaluation.cells import CellKey
from robustbench_aigi.evaluation.metrics import (
    RANK_COLUMNS,
    SUMMARY_COLUMNS,
    FrozenThresholds,
    rank_metrics,
    summarise,
)
from robustbench_aigi.evaluation.run_plan import DetectorSpec
from robustbench_aigi.evaluation.stored_cells import CellOutcome, StoredCell
from robustbench_aigi.evaluation.worst_case import (
    DRAW_COLUMNS,
    VERDICT_COLUMNS,
    WorstCase,
    is_certain,
)
from robustbench_aigi.executors import IN_PROCESS, Executor
from robustbench_aigi.outcomes import Absent, CellStatus, Failed, Unavailable

WORST_CASE_MODES = ("static", "white-box")
MAX_SENT = 1_000_000
"""Rows of a table that may be sent to another process."""


@dataclass(frozen=True)
class CellResult:
    """A cell of the matrix, or a worst case over several.

    Attributes:
        mode, attack: its place in the matrix.
        read: reads columns of the table, one row per image; None where there are no numbers.
        status: ``ok``, or what is missing or incomplete.
        is_ranked: whether every image was scored or attacked at full strength, so that AUC, AP and
            calibration mean something.
    """

    mode: str
    attack: str
    read: Callable[[Sequence[str]], pd.DataFrame] | None
    status: str = CellStatus.OK
    is_ranked: bool = False

    def loaded(self) -> "CellResult":
        """Return it with its table in memory, to be sent to another process."""
        if self.read is None:
            return self
        return replace(self, read=partial(_columns_of, self.read(SUMMARY_COLUMNS)))


def unavailable_row(detector: str, why: Unavailable) -> dict[str, object]:
    """Return the one row of a detector that is not evaluated.

    Args:
        detector: its name in the matrix.
        why: the reason.
    """
    return {"detector": detector, "status": str(why)}


def matrix_rows(
    detector: str,
    spec: DetectorSpec,
    suite: Suite,
    cells: Mapping[CellKey, CellOutcome],
    flags: Sequence[Flag],
    executor: Executor = IN_PROCESS,
) -> list[dict[str, object]]:
    """Return a detector's rows of the matrix; numbers stay empty where a cell has none.

    Args:
        detector: its name in the matrix.
        spec: what the plan says of it.
        suite: the rows.
        cells: its cells by mode and attack.
        flags: those of the detector.
        executor: who computes the intervals.
    """
    built = {row.id: row.built for row in suite.rows}
    full = {row.id for row in suite.rows if row.strength == "full"}
    clean = cells["clean", "clean"]
    thresholds: FrozenThresholds | None = None
    is_large = False
    if isinstance(clean, StoredCell):
        table = clean.numbers(RANK_COLUMNS)
        thresholds = FrozenThresholds.of(table)
        is_large = len(table) > MAX_SENT
    heads: list[dict[str, object]] = []

    def results() -> Iterator[CellResult]:
        for result in chain(_results(cells, full), _worst_cases(built, cells)):
            heads.append(_head(detector, result, spec, built, flags))
            yield result if is_large else result.loaded()
            del result  # else it would be in memory while the next one is read

    def numbers_of(result: CellResult) -> list[dict[str, object]]:
        if result.read is None:
            return [{}]
        rows = summarise(result.read(SUMMARY_COLUMNS), spec.threshold, ranked=False)
        if result.is_ranked:
            rows[-1] |= rank_metrics(result.read(RANK_COLUMNS), thresholds)
        return rows

    # Large tables are not sent to other processes: the copies would not fit in memory.
    by = IN_PROCESS if is_large else executor
    numbers = enumerate(by.map_ordered(numbers_of, results()))
    return [heads[number] | direction for number, rows in numbers for direction in rows]


def _results(cells: Mapping[CellKey, CellOutcome], full: Container[str]) -> Iterator[CellResult]:
    for (mode, attack), cell in cells.items():
        if isinstance(cell, Absent):
            yield CellResult(mode, attack, None, str(cell))
            continue
        is_ranked = mode != "white-box" or attack in full
        yield CellResult(mode, attack, cell.numbers, is_ranked=is_ranked)


def _head(
    detector: str,
    result: CellResult,
    spec: DetectorSpec,
    built: Mapping[str, Attack],
    flags: Sequence[Flag],
) -> dict[str, object]:
    """Return the columns that all directions of a cell share."""
    row_id = result.attack.partition(SURROGATE_SEPARATOR)[0].removesuffix(CONTROL_SUFFIX)
    attack = built.get(row_id)
    head: dict[str, object] = {
        "detector": detector,
        "mode": result.mode,
        "attack": result.attack,
        "status": result.status,
    }
    if attack is not None:
        head["seen"] = met(attack, spec.seen)
    if result.mode == "white-box" and row_id in spec.replaced:
        head["replaced_by"] = spec.replaced[row_id]
    if not result.attack.endswith(CONTROL_SUFFIX):
        access = "" if attack is None else attack.access
        head["flags"] = names(flags, result.mode, result.attack, access)
    return head


def _worst_cases(
    built: Mapping[str, Attack], cells: Mapping[CellKey, CellOutcome]
) -> Iterator[CellResult]:
    """Yield the worst cases of each mode.

    Minimum-norm attacks have no budget; including them would drive every worst case to 0.
    """
    bounded = [name for name, attack in built.items() if not attack.minimises]
    for mode in WORST_CASE_MODES:
        if any((mode, name) in cells for name in bounded):
            yield from _worst_case(bounded, cells, mode)


def _worst_case(
    attacks: Sequence[str], cells: Mapping[CellKey, CellOutcome], mode: str
) -> Iterator[CellResult]:
    """Yield the adversary who has every one of the attacks that could be measured.

    ``worst-case`` is over the images that all of them met. Where a row has a limit,
    ``worst-case-bound`` is over all images: it counts an image that a row never met as not fooled,
    so it is an upper bound.
    """
    clean = cells["clean", "clean"]
    found = {name: cells.get((mode, name), cells.get(("static", name))) for name in attacks}
    stored = [cell for cell in found.values() if isinstance(cell, StoredCell)]
    lost = [_lost(name, why) for name, why in found.items() if isinstance(why, Absent)]
    status: str = CellStatus.OK
    if lost:
        status = f"{CellStatus.INCOMPLETE}: {', '.join(lost)}"
    if not stored or not isinstance(clean, StoredCell):
        yield CellResult(mode, "worst-case", None, status)
        return
    whole, met_all = _worst_of(clean, stored)
    if not met_all.all():
        common = whole[met_all].reset_index(drop=True)
        yield CellResult(mode, "worst-case", partial(_columns_of, common), status)
        del common
    name = "worst-case" if met_all.all() else "worst-case-bound"
    yield CellResult(mode, name, partial(_columns_of, whole), status)


def _columns_of(table: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    return table[list(columns)]


def _worst_of(
    clean: StoredCell, cells: Sequence[StoredCell]
) -> tuple[pd.DataFrame, NDArray[np.bool_]]:
    """Return the worst case over cells, and which images met every one of them."""
    table = clean.numbers([*SUMMARY_COLUMNS, "id", "fooled", "wrong_half"])
    worst = WorstCase(table)
    columns = VERDICT_COLUMNS if is_certain(table) else (*VERDICT_COLUMNS, *DRAW_COLUMNS)
    for cell in cells:
        worst.add(cell.numbers(columns))
    return worst.table()[list(SUMMARY_COLUMNS)], worst.met_all


def _lost(name: str, why: Absent) -> str:
    if isinstance(why, Failed):
        return f"{name} failed"
    return f"{name} {CellStatus.of(str(why))}"
