"""What an evaluation will take: every kind of cell is tried on a few images, and multiplied."""

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import Dataset
from robustbench_aigi.data.dataset import choose
from robustbench_aigi.data.plusplus.parts import Part, part_builders
from robustbench_aigi.detectors import Detector
from robustbench_aigi.evaluation.adequacy.probes import IMAGES, probed, probes, slopes
from robustbench_aigi.evaluation.aimed import aimed
from robustbench_aigi.evaluation.batching import set_batches
from robustbench_aigi.evaluation.remote_costs import (
    NO_REQUESTS,
    Shared,
    attack_requests,
    can_ask,
    made_remotely,
    remote_lines,
    requests_of,
    shared_rows,
)
from robustbench_aigi.evaluation.run_plan import limited
from robustbench_aigi.evaluation.shard_work import attacked, scored
from robustbench_aigi.executors import InProcessExecutor
from robustbench_aigi.io.markdown import table_head, table_row

SIZES = (8, 32, 128)
ENOUGH = 0.5
"""Seconds that a trial must take to be believed; a shorter one, perhaps a warm-up, is repeated with
more images.
"""
COLUMNS = ["detector", "mode", "attack", "images", "passes", "seconds", "megabytes"]
NOTHING_SENT = (
    "Nothing was sent for this plan. Rows that need gradients are not run on a black box."
)
Made = Callable[[Dataset], pd.DataFrame]


def plan(
    detectors: Mapping[str, Detector], suite: Suite, data: Dataset
) -> tuple[pd.DataFrame, dict[str, int]]:
    """A row a cell: images, passes, seconds on one thread, megabytes on the disk; what all share
    has no detector.

    And the bytes that each detector's passes hold, with as many images at once as the evaluation
    shows.

    A static row whose surrogate is not among the detectors is left out, as the evaluation leaves it
    out. A detector on another machine is not asked: its rows are upper bounds, from the attacks'
    budgets.
    """
    held = dict(zip(detectors, set_batches(detectors.values(), data), strict=True))
    rows: list[dict[str, object]] = []
    shared = shared_rows(suite, detectors)
    for mode, row in shared:
        if made_remotely(row, detectors):
            rows.append(
                {"detector": ""} | attack_requests(detectors[str(row.surrogate)], mode, row, data)
            )
            continue
        one = suite.model_copy(update={"rows": (row,)})
        with tempfile.TemporaryDirectory() as folder:
            build = partial(_built, suite=one, makers=detectors, folder=Path(folder))
            rows.append(
                {"detector": "", "mode": mode, "attack": row.id} | _tried(build, limited(data, row))
            )
    for name, detector in detectors.items():
        cells = requests_of if detector.remote else _cells
        rows += cells(name, detector, suite, data, shared)
    return (
        pd.DataFrame([dict(NO_REQUESTS) | row for row in rows], columns=[*COLUMNS, *NO_REQUESTS]),
        held,
    )


def _cells(
    name: str, detector: Detector, suite: Suite, data: Dataset, shared: Shared
) -> list[dict[str, object]]:
    """The rows of a detector on this machine, each kind of cell tried."""
    clean = _tried(scored(detector, None), data)
    rows: list[dict[str, object]] = [{"detector": name, "mode": "clean", "attack": "clean"} | clean]
    for mode, row in shared:
        images = len(limited(data, row))
        own = {key: float(str(clean[key])) * images / len(data) for key in ("passes", "seconds")}
        cell = {
            "detector": name,
            "mode": mode,
            "attack": row.id,
            "images": images,
            "megabytes": 0.0,
        }
        rows.append(cell | own)
    for row in suite.rows:
        if can_ask(row, detector):
            full = row.strength == "full"
            work = attacked(
                detector, aimed(row, detector), suite.seed, None, keep_images=True, full=full
            )
            found = _tried(work, limited(data, row))
            rows.append({"detector": name, "mode": "white-box", "attack": row.id} | found)
    return rows + _probes(name, detector, suite, data)


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
    table = made[0].make(made[0].data, folder)
    return table.assign(size=[(folder / path).stat().st_size for path in table["path"]])


def _probes(name: str, detector: Detector, suite: Suite, data: Dataset) -> list[dict[str, object]]:
    """What the adequacy checks take; a black box has none."""
    if detector.card.gradient == "none":
        return []
    sample = Dataset(data.name, choose(data.manifest, IMAGES))
    works: dict[str, Made] = {"gradient": slopes(detector)}
    for probe, attack in probes(probed(suite)[1]).items():
        works[probe] = attacked(detector, attack, suite.seed, None, keep_images=False)
    return [
        {"detector": name, "mode": "probe", "attack": key} | _tried(work, sample)
        for key, work in works.items()
    ]


def _tried(work: Made, data: Dataset) -> dict[str, object]:
    """Time a work on a few images, on more if that was too short to tell, and multiply."""
    with_one = InProcessExecutor(1)
    for size in SIZES:
        sample = Dataset(data.name, choose(data.manifest, min(size, len(data))))
        began = time.perf_counter()
        (table,) = with_one.map_ordered(work, [sample])
        spent = time.perf_counter() - began
        if spent >= ENOUGH or len(sample) == len(data):
            break
    share = len(data) / len(table)
    passes = sum(
        float(table[column].sum()) for column in ("forwards", "backwards") if column in table
    )
    files = (
        table["size"]
        if "size" in table
        else table["png"].map(len)
        if "png" in table
        else pd.Series([0.0])
    )
    return {
        "images": len(data),
        "passes": passes * share,
        "seconds": spent * share,
        "megabytes": float(files.sum()) * share / 1e6,
    }


def to_text(table: pd.DataFrame, workers: int, held: Mapping[str, int]) -> str:
    """A line a detector and one for what all share, the costliest cells, and the sum; remote
    detectors apart.
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
