"""What a build of a ``++`` set will take: CPU time, room on the disk and memory."""

import io
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

import pandas as pd

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.decoding import decode
from robustbench_aigi.data.plusplus.build import all_builders
from robustbench_aigi.data.plusplus.contact_sheets import SheetCell, draw_sheet, times_ten
from robustbench_aigi.data.plusplus.parts import SHARD_IMAGES, Part, PartBuilder
from robustbench_aigi.data.trials import (
    DISK_BLOCK,
    WORKER_START,
    StoredSize,
    WorkCost,
    blocks,
    planned_totals,
    size_orders,
    table_size,
    try_work,
)
from robustbench_aigi.detectors import Detector
from robustbench_aigi.detectors._support.fingerprint import Identities
from robustbench_aigi.errors import DataError
from robustbench_aigi.executors.process_costs import CpuTimer, peak_memory, start_seconds

SHEET_IMAGES = 24
"""Images of a contact sheet."""
SHEET_SAMPLE = 4
"""Images that are drawn to measure a sheet."""
COMMAND_ROW = ("", "start and trials")
"""Split and attack of the first row: what the command takes before any work."""
COST_COLUMNS = ["split", "attack", "images", "passes", "seconds", "megabytes", "memory"]


def estimate_build(
    parts: Mapping[str, Part],
    suite: Suite,
    surrogates: Mapping[str, Detector],
    out: Path,
    identities: Identities | None = None,
    loading: float = 0.0,
) -> pd.DataFrame:
    """Estimate what a build has left to do, by trials of every part on images of every size.

    Args:
        parts: by split.
        suite: what is done to the clean images.
        surrogates: detectors by name.
        out: folder of the set.
        identities: the surrogates' fingerprints, where the caller has them already.
        loading: CPU seconds that reading the images and loading the surrogates took.

    Returns:
        One row per part, and rows without a split for the rest of the command: ``split, attack,
        images, passes``, ``seconds`` of CPU time, ``megabytes`` on the disk, and ``memory``, the
        peak of the process in bytes. The trials are among them, because a build makes them too.

    Raises:
        DataError: the disk has less room than the set takes, or a row names a surrogate that was
            not given.
    """
    timer = CpuTimer()
    builders = all_builders(parts, suite, surrogates, identities)
    costs = {COMMAND_ROW: WorkCost()}
    for builder in builders:
        costs |= _costs(builder, out)
    # One such process is the command, another one is what was just measured.
    start = start_seconds("robustbench_aigi.data.plusplus.build")
    costs["", WORKER_START] = WorkCost(seconds=start)
    costs[COMMAND_ROW] = WorkCost(seconds=2 * start + loading + timer.seconds)
    rows = [[*key, *cost, peak_memory()] for key, cost in costs.items()]
    table = pd.DataFrame(rows, columns=COST_COLUMNS)
    table["passes"] = table["passes"].round().astype(int)
    room = shutil.disk_usage(_existing(out)).free / 1e6
    needed = float(table["megabytes"].sum())
    if needed > room:
        raise DataError(
            f"the set takes about {needed:.0f} MB and {out} has room for {room:.0f} MB. Give --out"
            " on a larger disk, or --limit."
        )
    return table


def estimate_text(expected: pd.DataFrame, workers: int, *, has_pool: bool) -> str:
    """Return an estimate as text, with its sums.

    Args:
        expected: of :func:`estimate_build`.
        workers: processes that share the work.
        has_pool: whether they are other processes than the command's own.
    """
    shown = expected.drop(columns="memory").rename(
        columns={"seconds": "CPU seconds", "megabytes": "MB on the disk"}
    )
    text = shown.round({"CPU seconds": 1, "MB on the disk": 1}).to_string(index=False)
    images, passes = (expected[name].sum() for name in ("images", "passes"))
    totals = planned_totals(expected, workers, has_pool=has_pool)
    return f"{text}\nto do: {images:.0f} images, {passes:.2g} model passes\n{totals.to_text()}"


def stored_files(table: pd.DataFrame, folder: Path) -> StoredSize:
    """Return what image files and their rows of two manifests take on the disk.

    Args:
        table: of a builder, with the column ``path``.
        folder: that the paths are relative to.
    """
    rows = table_size(table)
    files = sum(blocks((folder / path).stat().st_size) for path in table["path"])
    class_folders = 3 * DISK_BLOCK
    return StoredSize(files + 2 * rows.rows, 2 * rows.shard + class_folders)


class PartTrial:
    """Makes images of a part in a folder that is deleted, and remembers the last of each size.

    Args:
        builder: of the part.
        folder: to make them in.
    """

    def __init__(self, builder: PartBuilder, folder: Path) -> None:
        self._builder = builder
        self._folder = folder
        self._made: dict[int, tuple[Dataset, pd.DataFrame]] = {}

    def __call__(self, shard: Dataset) -> pd.DataFrame:
        """Make the images of a ``shard``, and return their rows of the manifest."""
        table = self._builder.make(shard, self._folder)
        self._made[int(size_orders(shard)[0])] = (shard, table)
        return table

    def sheet_cost(self) -> WorkCost:
        """Return the cost of the part's contact sheet, from drawing some images of every size."""
        orders = size_orders(self._builder.data)
        shown = min(SHEET_IMAGES, len(orders))
        total = WorkCost()
        for order, (shard, table) in self._made.items():
            timer = CpuTimer()
            cells = self._cells(shard, table["path"][:SHEET_SAMPLE])
            file = io.BytesIO()
            draw_sheet("", cells, len(cells)).save(file, format="PNG")
            share = shown * float((orders == order).mean()) / len(cells)
            size = len(file.getvalue()) * share / 1e6
            total = total.plus(WorkCost(0, 0, timer.seconds * share, size))
        return total

    def _cells(self, shard: Dataset, paths: Iterable[str]) -> list[SheetCell]:
        """Return the first images of a shard as a sheet shows them."""
        made = [decode((self._folder / path).read_bytes()) for path in paths]
        if self._builder.attack in ("clean", "generated", "diffusion"):
            return [SheetCell([image], [""]) for image in made]
        return [
            SheetCell([clean, image, times_ten(image, clean)], [""])
            for clean, image in zip(shard.pixels(), made, strict=False)
        ]


def _costs(builder: PartBuilder, out: Path) -> dict[tuple[str, str], WorkCost]:
    """Return the cost of the shards of a part that are not there yet, and of its contact sheet."""
    part = (builder.split, builder.attack)
    missing = [shard for shard, place in builder.places() if not (out / place).is_file()]
    if not missing:
        return {part: WorkCost()}
    rows = pd.concat([shard.manifest for shard in missing], ignore_index=True)
    with tempfile.TemporaryDirectory() as name:
        trial = PartTrial(builder, Path(name))
        stored = partial(_stored_part, folder=Path(name))
        cost = try_work(trial, Dataset(builder.data.name, rows), stored, SHARD_IMAGES)
        sheet = trial.sheet_cost()
    return {part: cost, ("", f"contact sheet of {' '.join(part)}"): sheet}


def _stored_part(table: pd.DataFrame, folder: Path) -> StoredSize:
    """Return what images take with their rows of all manifests, two of which are JSON Lines."""
    size = stored_files(table, folder)
    lines = len(table.to_json(orient="records", lines=True))
    return size._replace(rows=size.rows + 2 * lines)


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
