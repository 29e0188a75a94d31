"""The grid of a run: every cell that it is to hold, written before the first one is computed.

So a run that was killed can be told from a finished one, and what it lacks can be named.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

import pandas as pd
from pydantic import BaseModel, Field

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.dataset import choose
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.adequacy.flags import Flag
from robustbench_aigi.evaluation.aimed import controls, not_aimed, replaced_by
from robustbench_aigi.evaluation.cells import (
    ERROR,
    TABLE,
    Cell,
    Table,
    finished_shards,
    read_shards,
)
from robustbench_aigi.evaluation.columns import COLUMNS, TYPES
from robustbench_aigi.evaluation.matrix_rows import matrix_rows
from robustbench_aigi.io.files import describe_read_errors, write_text
from robustbench_aigi.io.hashing import digest

GRID = "grid.json"
RESULTS = (
    "matrix.csv",
    "matrix.json",
    "matrix.md",
    "generators.csv",
    "adequacy.json",
    "report.html",
)
"""What is made of finished cells; taken away when another grid begins, because it would speak of
the old one.
"""


class DetectorSpec(BaseModel, frozen=True, extra="forbid"):
    """A detector of the grid: what its numbers need besides its cells, or why it is unavailable.

    ``at_once`` is how many images it is shown in a pass: sums come out a little otherwise in other
    batches. ``replaced`` maps rows to the attack that takes the place of their own, ``notes`` are
    warnings of the preflight.
    """

    threshold: float = 0.0
    at_once: int = 0
    seen: tuple[str, ...] = ()
    replaced: dict[str, str] = Field(default_factory=dict)
    notes: tuple[str, ...] = ()
    unavailable: str | None = None


class CellSpec(BaseModel, frozen=True, extra="forbid"):
    """A cell to be: of how many images, with the mark of all it is of; ``lost`` says why it cannot
    be computed.
    """

    detector: str
    mode: Literal["clean", "static", "transfer", "white-box"]
    attack: str
    images: int
    mark: str
    lost: str = ""


class RunPlan(BaseModel, frozen=True, extra="forbid"):
    """Detectors by name, the suite, and every cell, in the order of computing."""

    suite: Suite
    detectors: dict[str, DetectorSpec]
    cells: tuple[CellSpec, ...]

    def marks(self, detector: str) -> dict[tuple[str, str], str]:
        """Those of a detector's cells, by mode and attack."""
        return {
            (cell.mode, cell.attack): cell.mark for cell in self.cells if cell.detector == detector
        }


def limited(data: Dataset, row: SuiteRow) -> Dataset:
    """The images a row attacks: all, or its ``limit`` with classes balanced."""
    return data if row.limit is None else Dataset(data.name, choose(data.manifest, row.limit))


def not_given(row: SuiteRow) -> str:
    """The status of a shared row whose surrogate is missing."""
    return f"unavailable: the surrogate {row.surrogate} was not given. Add --surrogate CHECKPOINT"


def transferred(suite: Suite, detectors: Mapping[str, Detector]) -> list[SuiteRow]:
    """The rows of the transfer matrix: each marked one made on each of several detectors that it
    can be aimed at.
    """
    if len(detectors) < 2:
        return []
    marked = [row for row in suite.rows if row.transfer]
    return [
        row.made_on(name)
        for row in marked
        for name, d in detectors.items()
        if not not_aimed(row, d)
    ]


def plan_run(
    detectors: Mapping[str, Detector | str],
    suite: Suite,
    data: Dataset,
    makers: Mapping[str, Detector],
    identities: Identities,
    notes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> RunPlan:
    """The grid of a run; ``makers`` are the surrogates of the static set, ``notes`` by detector."""
    ready = {name: d for name, d in detectors.items() if isinstance(d, Detector)}
    known, of_makers = identities.of_all(dict(makers) | ready), identities.of_all(makers)
    crossed = transferred(suite, {d.card.name: d for d in ready.values()})

    def cells(detector: str) -> Iterator[CellSpec]:
        def cell(
            mode: str, row: SuiteRow | None, maker: str | None = None, lost: str = ""
        ) -> CellSpec:
            of = (known[detector], ready[detector].at_once, data.key, suite.seed)
            how = (mode, row and row.model_dump(by_alias=True), maker)
            attack, images = ("clean", data) if row is None else (row.id, limited(data, row))
            named = {"detector": detector, "mode": mode, "attack": attack}
            return CellSpec.model_validate(
                named | {"images": len(images), "mark": digest(*of, *how), "lost": lost}
            )

        yield cell("clean", None)
        for row in suite.rows:
            if row.shared:
                absent = row.surrogate is not None and row.surrogate not in makers
                lost = not_given(row) if absent else ""
                yield cell("static", row, of_makers.get(row.surrogate or ""), lost)
        for row in crossed:
            yield cell("transfer", row, known[row.surrogate or ""])
        for row in aimed_rows(suite):
            lost = not_aimed(row, ready[detector])
            yield cell("white-box", row, replaced_by(suite, ready[detector]).get(row.id), lost)
        for row in controls(suite, ready[detector]):
            yield cell("white-box", row)

    subjects = {
        name: _subject(detector, suite, notes.get(name, ())) for name, detector in detectors.items()
    }
    return RunPlan(
        suite=suite, detectors=subjects, cells=tuple(cell for name in ready for cell in cells(name))
    )


def aimed_rows(suite: Suite) -> list[SuiteRow]:
    """The rows that are aimed at every detector: all but those of changes that ask none."""
    return [row for row in suite.rows if row.built.access != "none"]


def _subject(detector: Detector | str, suite: Suite, notes: Sequence[str]) -> DetectorSpec:
    if isinstance(detector, str):
        return DetectorSpec(unavailable=detector)
    card, replaced = detector.card, replaced_by(suite, detector)
    return DetectorSpec(
        threshold=detector.threshold,
        at_once=detector.at_once,
        seen=card.seen,
        replaced=replaced,
        notes=tuple(notes),
    )


def write_run_plan(grid: RunPlan, out: Path) -> None:
    """Write ``grid.json``; results of another grid are taken away, its finished shards are not."""
    text = grid.model_dump_json(by_alias=True, indent=1)
    path = out / GRID
    if path.is_file() and path.read_text() == text:
        return
    for name in RESULTS:
        (out / name).unlink(missing_ok=True)
    write_text(path, text)


def read_run_plan(out: Path) -> RunPlan | None:
    """The grid of a run; None if it has none."""
    path = out / GRID
    if not path.is_file():
        return None
    with describe_read_errors(path):
        return RunPlan.model_validate_json(path.read_bytes())


class CellState(NamedTuple):
    """A cell of a run as it stands: ``done`` images of all; ``why`` is the status of one that has
    no numbers.
    """

    cell: CellSpec
    state: Literal["done", "part", "missing", "failed", "unavailable"]
    done: int
    why: str
    shards: tuple[Path, ...]


def cell_states(grid: RunPlan, out: Path) -> list[CellState]:
    """Every cell of a run as it stands on the disk."""
    return [
        _place(cell, Cell(cell.detector, cell.mode, cell.attack).folder(out)) for cell in grid.cells
    ]


def _place(cell: CellSpec, folder: Path) -> CellState:
    if cell.lost:
        return CellState(cell, "unavailable", 0, cell.lost, ())
    shards, whole = finished_shards(folder, cell.mark)
    if whole:
        return CellState(cell, "done", cell.images, "", tuple(shards))
    done = len(read_shards(shards, ["id"]))
    if (folder / ERROR).is_file():
        return CellState(
            cell,
            "failed",
            done,
            (folder / ERROR).read_text(errors="replace").partition("\n")[0],
            tuple(shards),
        )
    if shards:
        return CellState(
            cell, "part", done, f"missing: {done} of {cell.images} images are done", tuple(shards)
        )
    return CellState(cell, "missing", 0, "missing: not begun", ())


Key = tuple[str, str, str]
"""Detector, mode and attack."""


class Tables(Mapping[Key, pd.DataFrame]):
    """Tables, a row an image, each read whenever it is asked for: all of them at once would not fit
    for many images.
    """

    def __init__(self, readers: Mapping[Key, Callable[[], pd.DataFrame]]) -> None:
        self._readers = readers

    def __getitem__(self, key: Key) -> pd.DataFrame:
        return self._readers[key]()

    def __contains__(self, key: object) -> bool:
        return key in self._readers

    def __iter__(self) -> Iterator[Key]:
        return iter(self._readers)

    def __len__(self) -> int:
        return len(self._readers)

    def renamed(self, called: Callable[[str], str]) -> dict[Key, Callable[[], pd.DataFrame]]:
        """The readers, with other names of the detectors."""
        return {(called(key[0]), *key[1:]): reader for key, reader in self._readers.items()}


def read_cells(out: Path) -> Tables:
    """The finished cells of a run, probes apart."""
    grid = read_run_plan(out)
    found = cell_states(grid, out) if grid is not None else []
    done = [place for place in found if place.state == "done"]
    return Tables({(p.cell.detector, p.cell.mode, p.cell.attack): partial(_table, p) for p in done})


def _table(place: CellState) -> pd.DataFrame:
    return read_shards(place.shards, TABLE)


def unfinished(grid: RunPlan, out: Path, flags: Sequence[Flag] = ()) -> pd.DataFrame:
    """The matrix of what is finished, for a run that was stopped; every other row says what is
    missing.
    """
    rows: list[dict[str, object]] = []
    found = cell_states(grid, out)
    for name, subject in grid.detectors.items():
        if subject.unavailable is not None:
            rows.append({"detector": name, "status": f"unavailable: {subject.unavailable}"})
            continue
        own = [place for place in found if place.cell.detector == name]
        cells: dict[tuple[str, str], Table] = {
            (p.cell.mode, p.cell.attack): _table(p) if p.state == "done" else p.why for p in own
        }
        against = [flag for flag in flags if flag.detector == name]
        rows += matrix_rows(
            name, subject.threshold, subject.seen, grid.suite, cells, against, subject.replaced
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(TYPES)
