"""What an evaluation will take: each kind of cell is tried on a few images and multiplied."""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.plusplus.estimate import sized_table, stored_files
from robustbench_aigi.data.plusplus.parts import Part, part_builders
from robustbench_aigi.data.trials import (
    DISK_BLOCK,
    StoredSize,
    Work,
    WorkCost,
    table_size,
    try_work,
)
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.adequacy.probes import PROBE_IMAGES, probed, probes, slopes
from robustbench_aigi.evaluation.aimed import aimed
from robustbench_aigi.evaluation.remote_costs import (
    NO_REQUESTS,
    attack_requests,
    cell_requests,
    made_remotely,
    shared_rows,
)
from robustbench_aigi.evaluation.run_overheads import check_cost, map_cost, page_cost, start_rows
from robustbench_aigi.evaluation.run_plan import CellSpec, limited, plan_run
from robustbench_aigi.evaluation.shard_work import attacked, scored
from robustbench_aigi.evaluation.speedups import without_speedups
from robustbench_aigi.executors.process_costs import follow_peak, peak_memory

COST_COLUMNS = [
    "detector",
    "mode",
    "attack",
    "images",
    "passes",
    "seconds",
    "megabytes",
    "memory",
]
CELL_FILES = 3 * DISK_BLOCK
"""Bytes of a cell's folder, its description and its times."""


def estimate(
    detectors: Mapping[str, Detector],
    suite: Suite,
    data: Dataset,
    *,
    starting: float = 0.0,
    loading: float = 0.0,
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return what an evaluation takes, one row per cell, and the peak memory by detector.

    Columns are ``detector, mode, attack, images, passes, seconds`` (CPU time), ``megabytes`` (on
    the disk) and ``memory``, the peak of the process so far in bytes. What all detectors share has
    no detector: images, and the command's start, checks and report. Cells that cannot be computed
    are left out. A detector on another machine is not asked: its rows are upper bounds from the
    attacks' budgets.

    Args:
        detectors: by name; they are the surrogates too.
        suite: the rows.
        data: the clean images.
        starting: CPU seconds that a process takes to import the package and to end.
        loading: CPU seconds that loading the detectors and reading the images took.
    """
    follow_peak()
    rows = start_rows(starting, loading)
    rows.append(check_cost(detectors, data))
    cells = [
        cell
        for cell in plan_run(detectors, suite, data, detectors, Identities()).cells
        if cell.unavailable is None
    ]
    with without_speedups(detectors.values()):
        rows += _shared_costs(cells, detectors, suite, data)
    for name, detector in detectors.items():
        own = [cell for cell in cells if cell.detector == name]
        if detector.remote:
            rows += [cell_requests(cell, detector, data) for cell in own]
        else:
            rows += _detector_costs(name, own, detector, suite, data)
    rows.append(page_cost(pd.DataFrame(rows), data))
    filled = [{"memory": peak_memory()} | dict(NO_REQUESTS) | row for row in rows]
    table = pd.DataFrame(filled, columns=[*COST_COLUMNS, *NO_REQUESTS])
    peaks = {
        name: int(table.loc[table["detector"] == name, "memory"].max())
        for name, detector in detectors.items()
        if not detector.remote
    }
    return table, peaks


def _shared_costs(
    cells: Sequence[CellSpec], makers: Mapping[str, Detector], suite: Suite, data: Dataset
) -> list[dict[str, object]]:
    """Return the costs of the shared images: the clean ones of each set, and those of every row."""
    shared = shared_rows(cells)
    rows = []
    for mode in dict.fromkeys(["static", *(mode for mode, _ in shared)]):
        clean = _image_cost(None, makers, suite, data)
        rows.append(_row("", mode, "clean", clean))
    for mode, row in shared:
        if made_remotely(row, makers):
            request = attack_requests(makers[str(row.surrogate)], mode, row, data)
            rows.append({"detector": ""} | request)
        else:
            cost = _image_cost(row, makers, suite, limited(data, row))
            rows.append(_row("", mode, row.id, cost))
    return rows


def _image_cost(
    row: SuiteRow | None, makers: Mapping[str, Detector], suite: Suite, data: Dataset
) -> WorkCost:
    """Return the cost of storing clean images, or those of a row."""
    one = suite.model_copy(update={"rows": () if row is None else (row,)})
    attack = "clean" if row is None else row.id
    work = partial(_built, suite=one, makers=makers, attack=attack)
    return try_work(work, data, stored_files)


def _built(
    shard: Dataset, *, suite: Suite, makers: Mapping[str, Detector], attack: str
) -> pd.DataFrame:
    """Return the manifest rows of a shard's images, made as the evaluation does."""
    builders = part_builders("test", Part(shard, True, 0), suite, makers)
    made = next(one for one in builders if one.attack == attack)
    return sized_table(made.make(made.data))


def _detector_costs(
    name: str, cells: Sequence[CellSpec], detector: Detector, suite: Suite, data: Dataset
) -> list[dict[str, object]]:
    """Return the costs of a detector on this machine: its cells, each kind tried, probes, maps."""
    clean = try_work(scored(detector), data, _stored_cell)
    rows = []
    for cell in cells:
        if cell.mode == "white-box" and cell.row is not None:
            cost = _attack_cost(cell.row, detector, suite, limited(data, cell.row))
        else:
            cost = clean.of_images(cell.images)
        rows.append(_row(name, cell.mode, cell.attack, cost))
    rows += _probe_costs(name, detector, suite, data)
    own = sum(cell.mode == "white-box" for cell in cells)
    return [*rows, _row(name, "maps", "grad-cam", map_cost(detector, data, own))]


def _attack_cost(row: SuiteRow, detector: Detector, suite: Suite, data: Dataset) -> WorkCost:
    """Return the cost of a white-box cell."""
    is_full = row.strength == "full"
    attack = aimed(row, detector)
    work = attacked(detector, attack, suite.seed, keep_images=True, full=is_full)
    return try_work(work, data, _stored_cell)


def _probe_costs(
    name: str, detector: Detector, suite: Suite, data: Dataset
) -> list[dict[str, object]]:
    """Return the costs of the adequacy checks; a black box has none."""
    if detector.card.gradient == "none":
        return []
    sample = data.limit(PROBE_IMAGES)
    works: dict[str, Work] = {"gradient": slopes(detector)}
    for probe, attack in probes(probed(suite)[1]).items():
        works[probe] = attacked(detector, attack, suite.seed, keep_images=False)
    return [
        _row(name, "probe", key, try_work(work, sample, _stored_cell))
        for key, work in works.items()
    ]


def _stored_cell(table: pd.DataFrame) -> StoredSize:
    """Return what a cell's table takes on the disk."""
    size = table_size(table)
    return size._replace(shard=size.shard + CELL_FILES)


def _row(detector: str, mode: str, attack: str, cost: WorkCost) -> dict[str, object]:
    """Return a row of the estimate, with the memory of the process so far."""
    head = {"detector": detector, "mode": mode, "attack": attack}
    return head | cost._asdict() | {"memory": peak_memory()}
