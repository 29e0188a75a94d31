"""How far a run is: its cells as they stand, and how long the rest will take at the speed so
far.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.adequacy.judge import read_flags
from robustbench_aigi.evaluation.cells import Cell, read_times
from robustbench_aigi.evaluation.run_plan import read_run_plan
from robustbench_aigi.evaluation.run_state import CellState, cell_states
from robustbench_aigi.io.locks import is_locked

Speeds = Mapping[tuple[str, str, str], float]
"""Seconds an image by detector, mode and attack."""


class Status(NamedTuple):
    """A run as it stands.

    ``running``: a process works in its folder. ``finished``: the matrix is there. ``seconds``: what
    the cells that are left will take, as far as anything like them was measured; ``unknown``: how
    many of them nothing is known of.
    """

    cell_states: Sequence[CellState]
    running: bool
    finished: bool
    seconds: float
    unknown: int

    @property
    def counts(self) -> Counter[str]:
        """Cells in each state."""
        return Counter(place.state for place in self.cell_states)


def status(run: Path) -> Status:
    """How far a run is. Raises ``DataError`` for a folder without a grid."""
    grid = read_run_plan(run)
    if grid is None:
        raise DataError(f"{run} holds no plan.json. Give the --out folder of `run` or `evaluate`.")
    found = cell_states(grid, run)
    finished = read_flags(run) is not None and (run / "matrix.csv").is_file()
    speeds = {
        key: speed for place in found if (speed := _speed(place, run)) for key in [_key(place)]
    }
    left = [
        (place, _expected(place, speeds))
        for place in found
        if place.state in ("part", "missing") and not finished
    ]
    known = [
        seconds * (place.cell.images - place.done)
        for place, seconds in left
        if not math.isnan(seconds)
    ]
    return Status(found, is_locked(run), finished, sum(known), len(left) - len(known))


def _key(place: CellState) -> tuple[str, str, str]:
    return place.cell.detector, place.cell.mode, place.cell.attack


def _speed(place: CellState, run: Path) -> float:
    """Seconds an image that the finished shards of a cell took; 0 if none is."""
    times = read_times(Cell(*_key(place)).folder(run))
    if not place.done or not times:
        return 0.0
    done = [seconds for _, seconds in sorted(times.items())][: len(place.shards)]
    return float(sum(done)) / place.done


def _expected(place: CellState, speeds: Speeds) -> float:
    """Seconds an image: a cell's own, or others' under this attack, scaled by how quick the
    detectors are; else nan.
    """
    detector, mode, attack = _key(place)
    if _key(place) in speeds:
        return speeds[_key(place)]

    def quickness(name: str) -> float:
        return speeds.get((name, "clean", "clean"), math.nan)

    alike = [
        speed * (1.0 if math.isnan(ratio := quickness(detector) / quickness(name)) else ratio)
        for (name, *own), speed in speeds.items()
        if own == [mode, attack]
    ]
    return median(alike) if alike else math.nan


def to_text(run: Path | str, found: Status) -> str:
    """A line in all, a line a detector that is not finished, and a line for each cell that
    failed.
    """
    counts, total = found.counts, len(found.cell_states)
    state = "finished" if found.finished else "running" if found.running else "stopped"
    words = [
        f"{counts[name]} {name}"
        for name in ("part", "missing", "failed", "unavailable")
        if counts[name]
    ]
    lines = [
        f"{run}: {state}; {counts['done']} of {total} cells done"
        + "".join(f", {word}" for word in words)
    ]
    for name in dict.fromkeys(place.cell.detector for place in found.cell_states):
        own = [place for place in found.cell_states if place.cell.detector == name]
        done = sum(place.state == "done" for place in own)
        if done < len(own) and not found.finished:
            lines.append(f"  {name}: {done} of {len(own)} cells")
    lines += [
        f"  {place.cell.detector}, {place.cell.mode}, {place.cell.attack}: {place.why}"
        for place in found.cell_states
        if place.state in ("failed", "unavailable")
    ]
    if not found.finished:
        rest = f"{found.unknown} cells of a kind not measured yet" if found.unknown else ""
        time = (
            f"about {found.seconds / 60:.0f} minutes at the speed so far" if found.seconds else ""
        )
        lines.append(f"left: {' and '.join(word for word in (time, rest) if word)}")
    if not found.finished and not found.running:
        lines.append("Repeat its command to go on.")
    return "\n".join(lines)
