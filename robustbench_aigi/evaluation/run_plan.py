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

from robustbench_aigi.attacks import Row, Suite
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
from robustbench_aigi.evaluation.matrix_rows import rows_of
from robustbench_aigi.evaluation.metrics import COLUMNS, TYPES
from robustbench_aigi.io.files import reading, write_text
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


class Subject(BaseModel, frozen=True, extra="forbid"):
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


class Planned(BaseModel, frozen=True, extra="forbid"):
    """A cell to be: of how many images, with the mark of all it is of; ``lost`` says why it cannot
    be computed.
    """

    detector: str
    mode: Literal["clean", "static", "transfer", "white-box"]
    attack: str
    images: int
    mark: str
    lost: str = ""


class Grid(BaseModel, frozen=True, extra="forbid"):
    """Detectors by name, the suite, and every cell, in the order of computing."""

    suite: Suite
    detectors: dict[str, Subject]
    cells: tuple[Planned, ...]

    def marks(self, detector: str) -> dict[tuple[str, str], str]:
        """Those of a detector's cells, by mode and attack."""
        return {
            (cell.mode, cell.attack): cell.mark for cell in self.cells if cell.detector == detector
        }


def limited(data: Dataset, row: Row) -> Dataset:
    """The images a row attacks: all, or its ``limit`` with classes balanced."""
    return data if row.limit is None else Dataset(data.name, choose(data.manifest, row.limit))


def not_given(row: Row) -> str:
    """The status of a shared row whose surrogate is missing."""
    return f"unavailable: the surrogate {row.surrogate} was not given. Add --surrogate CHECKPOINT"


def transferred(suite: Suite, detectors: Mapping[str, Detector]) -> list[Row]:
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


def planned(
    detectors: Mapping[str, Detector | str],
    suite: Suite,
    data: Dataset,
    makers: Mapping[str, Detector],
    identities: Identities,
    notes: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Grid:
    """The grid of a run; ``makers`` are the surrogates of the static set, ``notes`` by detector."""
    ready = {name: d for name, d in detectors.items() if isinstance(d, Detector)}
    known, of_makers = identities.of_all(dict(makers) | ready), identities.of_all(makers)
    crossed = transferred(suite, {d.card.name: d for d in ready.values()})

    def cells(detector: str) -> Iterator[Planned]:
        def cell(mode: str, row: Row | None, maker: str | None = None, lost: str = "") -> Planned:
            of = (known[detector], ready[detector].at_once, data.key, suite.seed)
            how = (mode, row and row.model_dump(by_alias=True), maker)
            attack, images = ("clean", data) if row is None else (row.id, limited(data, row))
            named = {"detector": detector, "mode": mode, "attack": attack}
            return Planned.model_validate(
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
    return Grid(
        suite=suite, detectors=subjects, cells=tuple(cell for name in ready for cell in cells(name))
    )


def aimed_rows(suite: Suite) -> list[Row]:
    """The rows that are aimed at every detector: all but those of changes that ask none."""
    return [row for row in suite.rows if row.built.access != "none"]


def _subject(detector: Detector | str, suite: Suite, notes: Sequence[str]) -> Subject:
    if isinstance(detector, str):
        return Subject(unavailable=detector)
    card, replaced = detector.card, replaced_by(suite, detector)
    return Subject(
        threshold=detector.threshold,
        at_once=detector.at_once,
        seen=card.seen,
        replaced=replaced,
        notes=tuple(notes),
    )


def write_grid(grid: Grid, out: Path) -> None:
    """Write ``grid.json``; results of another grid are taken away, its finished shards are not."""
    text = grid.model_dump_json(by_alias=True, indent=1)
    path = out / GRID
    if path.is_file() and path.read_text() == text:
        return
    for name in RESULTS:
        (out / name).unlink(missing_ok=True)
    write_text(path, text)


def read_grid(out: Path) -> Grid | None:
    """The grid of a run; None if it has none."""
    path = out / GRID
    if not path.is_file():
        return None
    with reading(path, "Delete it and repeat the command that wrote it; finished shards are kept."):
        return Grid.model_validate_json(path.read_bytes())


class Place(NamedTuple):
    """A cell of a run as it stands: ``done`` images of all; ``why`` is the status of one that has
    no numbers.
    """

    cell: Planned
    state: Literal["done", "part", "missing", "failed", "unavailable"]
    done: int
    why: str
    shards: tuple[Path, ...]


def places(grid: Grid, out: Path) -> list[Place]:
    """Every cell of a run as it stands on the disk."""
    return [
        _place(cell, Cell(cell.detector, cell.mode, cell.attack).folder(out)) for cell in grid.cells
    ]


def _place(cell: Planned, folder: Path) -> Place:
    if cell.lost:
        return Place(cell, "unavailable", 0, cell.lost, ())
    shards, whole = finished_shards(folder, cell.mark)
    if whole:
        return Place(cell, "done", cell.images, "", tuple(shards))
    done = len(read_shards(shards, ["id"]))
    if (folder / ERROR).is_file():
        return Place(
            cell,
            "failed",
            done,
            (folder / ERROR).read_text(errors="replace").partition("\n")[0],
            tuple(shards),
        )
    if shards:
        return Place(
            cell, "part", done, f"missing: {done} of {cell.images} images are done", tuple(shards)
        )
    return Place(cell, "missing", 0, "missing: not begun", ())


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
    grid = read_grid(out)
    found = places(grid, out) if grid is not None else []
    done = [place for place in found if place.state == "done"]
    return Tables({(p.cell.detector, p.cell.mode, p.cell.attack): partial(_table, p) for p in done})


def _table(place: Place) -> pd.DataFrame:
    return read_shards(place.shards, TABLE)


def unfinished(grid: Grid, out: Path, flags: Sequence[Flag] = ()) -> pd.DataFrame:
    """The matrix of what is finished, for a run that was stopped; every other row says what is
    missing.
    """
    rows: list[dict[str, object]] = []
    found = places(grid, out)
    for name, subject in grid.detectors.items():
        if subject.unavailable is not None:
            rows.append({"detector": name, "status": f"unavailable: {subject.unavailable}"})
            continue
        own = [place for place in found if place.cell.detector == name]
        cells: dict[tuple[str, str], Table] = {
            (p.cell.mode, p.cell.attack): _table(p) if p.state == "done" else p.why for p in own
        }
        against = [flag for flag in flags if flag.detector == name]
        rows += rows_of(
            name, subject.threshold, subject.seen, grid.suite, cells, against, subject.replaced
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(TYPES)
