"""What an evaluation will take: each kind of cell is tried on a few images and multiplied."""

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd

from robustbench_aigi.attacks import Suite, SuiteRow
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.plusplus.parts import Part, part_builders
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.evaluation.adequacy.probes import PROBE_IMAGES, probed, probes, slopes
from robustbench_aigi.evaluation.aimed import aimed
from robustbench_aigi.evaluation.batching import set_batches
from robustbench_aigi.evaluation.remote_costs import (
    NO_REQUESTS,
    attack_requests,
    cell_requests,
    made_remotely,
    remote_lines,
    shared_rows,
)
from robustbench_aigi.evaluation.run_plan import CellSpec, limited, plan_run
from robustbench_aigi.evaluation.shard_work import attacked, scored
from robustbench_aigi.evaluation.speedups import choose_speedups, without_speedups
from robustbench_aigi.executors import InProcessExecutor
from robustbench_aigi.io.markdown import table_head, table_row

TRIAL_SIZES = (8, 32, 128)
"""Images of a trial, and of the next ones if it was too short."""
ENOUGH_SECONDS = 0.5
"""Seconds that a trial must take to be believed; a shorter one, perhaps a warm-up, is repeated with
more images.
"""
COST_COLUMNS = ["detector", "mode", "attack", "images", "passes", "seconds", "megabytes"]
NOTHING_SENT = (
    "Nothing was sent for this plan. Rows that need gradients are not run on a black box."
)
Made = Callable[[Dataset], pd.DataFrame]


def estimate(
    detectors: Mapping[str, Detector], suite: Suite, data: Dataset
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return what an evaluation takes, one row per cell, and the memory of each detector's passes.

    Columns are ``detector, mode, attack, images, passes, seconds`` (on one thread) and
    ``megabytes`` (on disk); images that all share have no detector. Memory is in bytes. Cells that
    cannot be computed are left out. A detector on another machine is not asked: its rows are upper
    bounds from the attacks' budgets.

    Args:
        detectors: by name; they are the surrogates too.
        suite: the rows.
        data: the clean images.
    """
    held = dict(zip(detectors, set_batches(detectors.values(), data), strict=True))
    plan = plan_run(detectors, suite, data, detectors, Identities())
    cells = [cell for cell in plan.cells if cell.unavailable is None]
    with without_speedups(detectors.values()):
        rows = [_shared_cost(mode, row, detectors, suite, data) for mode, row in shared_rows(cells)]
    for detector in detectors.values():
        choose_speedups(detector, data)
    for name, detector in detectors.items():
        own = [cell for cell in cells if cell.detector == name]
        if detector.remote:
            rows += [cell_requests(cell, detector, data) for cell in own]
        else:
            rows += _cell_costs(own, detector, suite, data)
            rows += _probe_costs(name, detector, suite, data)
    filled = [dict(NO_REQUESTS) | row for row in rows]
    return pd.DataFrame(filled, columns=[*COST_COLUMNS, *NO_REQUESTS]), held


def _shared_cost(
    mode: str, row: SuiteRow, makers: Mapping[str, Detector], suite: Suite, data: Dataset
) -> dict[str, object]:
    """Return the cost of the images of a shared row."""
    if made_remotely(row, makers):
        return {"detector": ""} | attack_requests(makers[str(row.surrogate)], mode, row, data)
    one = suite.model_copy(update={"rows": (row,)})
    with tempfile.TemporaryDirectory() as folder:
        build = partial(_built, suite=one, makers=makers, folder=Path(folder))
        found = _tried(build, limited(data, row))
    return {"detector": "", "mode": mode, "attack": row.id} | found


def _cell_costs(
    cells: Sequence[CellSpec], detector: Detector, suite: Suite, data: Dataset
) -> list[dict[str, object]]:
    """Return the costs of the cells of a detector on this machine, each kind tried."""
    clean = _tried(scored(detector), data)
    rows: list[dict[str, object]] = []
    for cell in cells:
        head: dict[str, object] = {
            "detector": cell.detector,
            "mode": cell.mode,
            "attack": cell.attack,
        }
        if cell.mode == "clean" or cell.row is None:
            rows.append(head | clean)
        elif cell.mode == "white-box":
            attack = aimed(cell.row, detector)
            is_full = cell.row.strength == "full"
            work = attacked(detector, attack, suite.seed, keep_images=True, full=is_full)
            rows.append(head | _tried(work, limited(data, cell.row)))
        else:
            rows.append(head | _scoring_cost(clean, cell.images, len(data)))
    return rows


def _scoring_cost(clean: Mapping[str, object], images: int, of: int) -> dict[str, object]:
    """Return the cost of scoring some images, from that of scoring all."""
    share = images / of
    own = {key: float(str(clean[key])) * share for key in ("passes", "seconds")}
    return {"images": images, "megabytes": 0.0, **own}


def _built(
    shard: Dataset, *, suite: Suite, makers: Mapping[str, Detector], folder: Path
) -> pd.DataFrame:
    """A shard's images of the suite's only row, made as the evaluation makes them; ``size`` is in
    bytes.
    """
    made = [
        i
        for i in part_builders("test", Part(shard, True, 0), suite, makers)
        if i.attack == suite.rows[0].id
    ]
    found = made[0].make(made[0].data)
    return found.table.assign(size=[len(content) for content in found.files])


def _probe_costs(
    name: str, detector: Detector, suite: Suite, data: Dataset
) -> list[dict[str, object]]:
    """What the adequacy checks take; a black box has none."""
    if detector.card.gradient == "none":
        return []
    sample = data.limit(PROBE_IMAGES)
    works: dict[str, Made] = {"gradient": slopes(detector)}
    for probe, attack in probes(probed(suite)[1]).items():
        works[probe] = attacked(detector, attack, suite.seed, keep_images=False)
    return [
        {"detector": name, "mode": "probe", "attack": key} | _tried(work, sample)
        for key, work in works.items()
    ]


def _tried(work: Made, data: Dataset) -> dict[str, object]:
    """Time a work on a few images, on more if that was too short to tell, and multiply."""
    with_one = InProcessExecutor(1)
    for size in TRIAL_SIZES:
        sample = data.limit(min(size, len(data)))
        began = time.perf_counter()
        (table,) = with_one.map_ordered(work, [sample])
        spent = time.perf_counter() - began
        if spent >= ENOUGH_SECONDS or len(sample) == len(data):
            break
    share = len(data) / len(table)
    passes = sum(
        float(table[column].sum()) for column in ("forwards", "backwards") if column in table
    )
    files = pd.Series([0.0])
    if "size" in table:
        files = table["size"]
    elif "png" in table:
        files = table["png"].map(len)
    return {
        "images": len(data),
        "passes": passes * share,
        "seconds": spent * share,
        "megabytes": float(files.sum()) * share / 1e6,
    }


def to_text(table: pd.DataFrame, workers: int, held: Mapping[str, int]) -> str:
    """Return the estimate as text: one row per detector, the costliest cells, and the sum.

    Args:
        table: of :func:`estimate`.
        workers: single-threaded processes that share the work.
        held: bytes that each detector's passes hold.
    """
    remote = remote_lines(table)
    if remote:
        remote = ["", NOTHING_SENT, *remote]
    table = table[table["service"] == ""]
    if table.empty:
        return "\n".join(remote[1:])
    head = [
        "detector",
        "cells",
        "passes",
        "minutes on one thread",
        "MB on the disk",
        "MB in memory",
    ]
    lines = table_head(head, numbers=len(head) - 1)
    for name in dict.fromkeys(table["detector"]):
        own = table[table["detector"] == name]
        room = f"{held[name] / 1e6:.0f}" if name in held else ""
        numbers = [
            f"{own['passes'].sum():.2g}",
            f"{own['seconds'].sum() / 60:.1f}",
            f"{own['megabytes'].sum():.0f}",
        ]
        lines.append(table_row([name or "shared images", len(own), *numbers, room]))
    costly = table.sort_values("seconds", ascending=False).head(3)
    most = [
        f"{r['attack']} on {r['detector'] or 'its surrogate'} {r['seconds'] / 60:.1f}"
        for r in costly.to_dict("records")
    ]
    total = table["seconds"].sum() / 60
    lines.append(f"\nmost of it, in minutes: {'; '.join(most)}")
    few = f"{workers} workers" if workers > 1 else "1 worker"
    lines.append(f"about {total / workers:.1f} minutes with {few} of one thread")
    return "\n".join([*lines, *remote])
