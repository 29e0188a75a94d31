"""Progress of a run: the state of its cells, and the time left at the speed so far."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.adequacy.judge import read_flags
from robustbench_aigi.evaluation.cells import Cell, read_times
from robustbench_aigi.evaluation.run_plan import read_run_plan
from robustbench_aigi.evaluation.run_state import CellState, TableKey, cell_states
from robustbench_aigi.io.locks import is_locked

Speeds = Mapping[TableKey, float]
"""Seconds per image by detector, mode and attack."""


class Status(NamedTuple):
    """Progress of a run.

    Attributes:
        cell_states: of every planned cell.
        is_running: whether a process works in its folder.
        is_finished: whether its matrix is written.
        seconds: what the remaining cells will take, as far as similar ones were measured.
        unknown: remaining cells of a kind that was not measured.
    """

    cell_states: Sequence[CellState]
    is_running: bool
    is_finished: bool
    seconds: float
    unknown: int

    @property
    def counts(self) -> Counter[str]:
        """Number of cells in each state."""
        return Counter(cell.state for cell in self.cell_states)

    @property
    def word(self) -> str:
        """``finished``, ``running`` or ``stopped``."""
        if self.is_finished:
            return "finished"
        return "running" if self.is_running else "stopped"


def status(run: Path) -> Status:
    """Return the progress of a run.

    Args:
        run: its folder.

    Raises:
        DataError: the folder has no plan.
    """
    plan = read_run_plan(run)
    if plan is None:
        raise DataError(f"{run} holds no plan.json. Give the --out folder of `run` or `evaluate`.")
    states = cell_states(plan, run)
    is_finished = read_flags(run) is not None and (run / "matrix.csv").is_file()
    measured = {_key(state): _seconds_per_image(state, run) for state in states}
    speeds = {key: speed for key, speed in measured.items() if speed is not None}
    left = [] if is_finished else [s for s in states if s.state in ("part", "missing")]
    expected = [(state, _expected(_key(state), speeds)) for state in left]
    seconds = [
        speed * (state.cell.images - state.done) for state, speed in expected if speed is not None
    ]
    return Status(states, is_locked(run), is_finished, sum(seconds), len(left) - len(seconds))


def _key(state: CellState) -> TableKey:
    return state.cell.detector, state.cell.mode, state.cell.attack


def _seconds_per_image(state: CellState, run: Path) -> float | None:
    """Return what the finished shards of a cell took per image; None if there are none."""
    times = read_times(Cell(*_key(state)).folder(run))
    if not state.done or not times:
        return None
    done = [seconds for _, seconds in sorted(times.items())][: len(state.stored.names)]
    return float(sum(done)) / state.done or None


def _expected(key: TableKey, speeds: Speeds) -> float | None:
    """Return the expected seconds per image of a cell; None if nothing like it was measured.

    That is its own speed, or the median of other detectors' under this attack, scaled by the ratio
    of the detectors' speeds on clean images.
    """
    if key in speeds:
        return speeds[key]
    detector, mode, attack = key
    similar = [
        speed * _ratio(detector, other, speeds)
        for (other, *cell), speed in speeds.items()
        if cell == [mode, attack]
    ]
    return median(similar) if similar else None


def _ratio(detector: str, other: str, speeds: Speeds) -> float:
    """Return how many times as long a detector takes as another; 1 if that is not known."""
    own = speeds.get((detector, "clean", "clean"))
    reference = speeds.get((other, "clean", "clean"))
    if own is None or reference is None:
        return 1.0
    return own / reference


def to_text(run: Path | str, found: Status) -> str:
    """Return the progress as text.

    One line for the run, one per unfinished detector, one per failed or unavailable cell, and the
    time left.

    Args:
        run: how the run is called.
        found: its progress.
    """
    counts = found.counts
    words = [f"{counts[n]} {n}" for n in ("part", "missing", "failed", "unavailable") if counts[n]]
    total = len(found.cell_states)
    head = ", ".join([f"{counts['done']} of {total} cells done", *words])
    lines = [f"{run}: {found.word}; {head}", *_detector_lines(found)]
    lines += [
        f"  {', '.join(_key(state))}: {state.why}"
        for state in found.cell_states
        if state.state in ("failed", "unavailable")
    ]
    if not found.is_finished:
        lines.append(f"left: {' and '.join(_left(found))}")
    if found.word == "stopped":
        lines.append("Run its command again to resume.")
    return "\n".join(lines)


def _detector_lines(found: Status) -> list[str]:
    if found.is_finished:
        return []
    lines = []
    for name in dict.fromkeys(state.cell.detector for state in found.cell_states):
        own = [state for state in found.cell_states if state.cell.detector == name]
        done = sum(state.state == "done" for state in own)
        if done < len(own):
            lines.append(f"  {name}: {done} of {len(own)} cells")
    return lines


def _left(found: Status) -> list[str]:
    words = []
    if found.seconds:
        words.append(f"about {found.seconds / 60:.0f} minutes at the speed so far")
    if found.unknown:
        words.append(f"{found.unknown} cells of a kind not measured yet")
    return words
