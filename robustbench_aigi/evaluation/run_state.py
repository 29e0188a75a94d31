"""The state of a run on disk: which of its planned cells are finished, and their tables."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd
import pyarrow.parquet as pq

from robustbench_aigi.evaluation.adequacy.flags import Flag
from robustbench_aigi.evaluation.cells import (
    ERROR_FILE,
    Cell,
    CellKey,
    finished_shards,
)
from robustbench_aigi.evaluation.columns import COLUMN_NAMES, COLUMN_TYPES
from robustbench_aigi.evaluation.matrix_rows import matrix_rows, unavailable_row
from robustbench_aigi.evaluation.run_plan import CellSpec, RunPlan, read_run_plan
from robustbench_aigi.evaluation.stored_cells import CellOutcome, StoredCell
from robustbench_aigi.outcomes import Absent, Failed, Missing, Unavailable


class CellState(NamedTuple):
    """A planned cell as it stands on disk.

    Attributes:
        cell: what was planned.
        state: how far it is.
        done: images done.
        why: why it has no complete table; None for a finished cell.
        stored: its finished shards.
    """

    cell: CellSpec
    state: Literal["done", "part", "missing", "failed", "unavailable"]
    done: int
    why: Absent | None
    stored: StoredCell

    @property
    def outcome(self) -> CellOutcome:
        """The table of a finished cell; of another, why there is none."""
        return self.stored if self.why is None else self.why


def cell_states(plan: RunPlan, out: Path) -> list[CellState]:
    """Return the state of every cell of a run."""
    return [_state(cell, _folder(cell, out)) for cell in plan.cells]


def _folder(cell: CellSpec, out: Path) -> Path:
    return Cell(cell.detector, cell.mode, cell.attack).folder(out)


def _state(cell: CellSpec, folder: Path) -> CellState:
    if cell.unavailable is not None:
        none = StoredCell(folder, ())
        return CellState(cell, "unavailable", 0, Unavailable(cell.unavailable), none)
    shards, is_whole = finished_shards(folder, cell.fingerprint)
    stored = StoredCell(folder, tuple(shards))
    if is_whole:
        return CellState(cell, "done", cell.images, None, stored)
    done = sum(pq.read_metadata(path).num_rows for path in stored.paths)
    log = folder / ERROR_FILE
    if log.is_file():
        return CellState(cell, "failed", done, Failed.read_log(log), stored)
    if not shards:
        return CellState(cell, "missing", 0, Missing("not started"), stored)
    why = Missing(f"{done} of {cell.images} images are done")
    return CellState(cell, "part", done, why, stored)


TableKey = tuple[str, str, str]
"""Detector, mode and attack."""


class Tables(Mapping[TableKey, pd.DataFrame]):
    """Tables with one row per image, each read when it is asked for: all would not fit in memory.

    Args:
        readers: what reads each table.
    """

    def __init__(self, readers: Mapping[TableKey, Callable[[], pd.DataFrame]]) -> None:
        self._readers = readers

    def __getitem__(self, key: TableKey) -> pd.DataFrame:
        return self._readers[key]()

    def __contains__(self, key: object) -> bool:
        return key in self._readers

    def __iter__(self) -> Iterator[TableKey]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def numbers(self, key: TableKey, columns: Sequence[str]) -> pd.DataFrame:
        """Return some columns of a table, as :meth:`StoredCell.numbers` does.

        Args:
            key: of the table.
            columns: their names.
        """
        reader = self._readers[key]
        return reader.numbers(columns) if isinstance(reader, StoredCell) else reader()

    def renamed(self, new_name: Callable[[str], str]) -> dict[TableKey, Callable[[], pd.DataFrame]]:
        """Return the readers with other names of the detectors.

        Args:
            new_name: a detector's name to its new one.
        """
        return {(new_name(key[0]), *key[1:]): reader for key, reader in self._readers.items()}


def read_cells(out: Path) -> Tables:
    """Return the finished cells of a run, without its probes."""
    plan = read_run_plan(out)
    states = [] if plan is None else cell_states(plan, out)
    return Tables(
        {(s.cell.detector, s.cell.mode, s.cell.attack): s.stored for s in states if s.why is None}
    )


def unfinished_matrix(plan: RunPlan, out: Path, flags: Sequence[Flag] = ()) -> pd.DataFrame:
    """Return the matrix of a stopped run: what is finished, and for all else what is missing.

    Args:
        plan: of the run.
        out: its folder.
        flags: those already found.
    """
    rows: list[dict[str, object]] = []
    states = cell_states(plan, out)
    for name, spec in plan.detectors.items():
        if spec.unavailable is not None:
            rows.append(unavailable_row(name, Unavailable(spec.unavailable)))
            continue
        cells: dict[CellKey, CellOutcome] = {
            state.cell.key: state.outcome for state in states if state.cell.detector == name
        }
        own_flags = [flag for flag in flags if flag.detector == name]
        rows += matrix_rows(name, spec, plan.suite, cells, own_flags)
    return pd.DataFrame(rows, columns=list(COLUMN_NAMES)).astype(COLUMN_TYPES)
