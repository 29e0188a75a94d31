"""What a build of a ``++`` set will take: CPU time, room on the disk and memory."""

import io
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data.dataset import Dataset
from robustbench_aigi.data.decoding import decode
from robustbench_aigi.data.plusplus.build import all_builders
from robustbench_aigi.data.plusplus.contact_sheets import SheetCell, draw_sheet, times_ten
from robustbench_aigi.data.plusplus.parts import SHARD_IMAGES, Part, PartBuilder
from robustbench_aigi.data.plusplus.storage import ImageFiles, MadeShard, Storage, load_storage
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
    shards: str | None = None,
) -> pd.DataFrame:
    """Estimate what a build has left to do, by trials of every part on images of every size.

    Args:
        parts: by split.
        suite: what is done to the clean images.
        surrogates: detectors by name.
        out: folder of the set.
        identities: the surrogates' fingerprints, where the caller has them already.
        loading: CPU seconds that reading the images and loading the surrogates took.
        shards: kind of archives that images are written to; None for one file per image.

    Returns:
        One row per part, and rows without a split for the rest of the command: ``split, attack,
        images, passes``, ``seconds`` of CPU time, ``megabytes`` on the disk, and ``memory``, the
        peak of the process in bytes. The trials are among them, because a build makes them too.

    Raises:
        DataError: the disk has less room than the set takes, or a row names a surrogate that was
            not given.
    """
    timer = CpuTimer()
    storage = load_storage(shards)
    builders = all_builders(parts, suite, surrogates, identities, storage)
    costs = {COMMAND_ROW: WorkCost()}
    for builder in builders:
        costs |= _costs(builder, out, storage)
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


def stored_files(table: pd.DataFrame) -> StoredSize:
    """Return what image files and their rows of two manifests take on the disk.

    Args:
        table: of the manifest, with a further column ``size``, the bytes of each file.
    """
    rows = table_size(table.drop(columns="size"))
    files = sum(blocks(size) for size in table["size"])
    class_folders = 3 * DISK_BLOCK
    return StoredSize(files + 2 * rows.rows, 2 * rows.shard + class_folders)


def sized_table(made: MadeShard) -> pd.DataFrame:
    """Return the rows of the manifest with the column ``size``, the bytes of each file."""
    return made.table.assign(size=[len(content) for content in made.files])


class PartTrial:
    """Makes images of a part, and remembers the last of each size.

    Args:
        builder: of the part.
        storage: how they would be stored.
    """

    def __init__(self, builder: PartBuilder, storage: Storage) -> None:
        self._builder = builder
        self._storage = storage
        self._made: dict[int, tuple[Dataset, MadeShard]] = {}

    def __call__(self, shard: Dataset) -> pd.DataFrame:
        """Make the images of a ``shard``, and return their rows of the manifest."""
        made = self._builder.make(shard)
        self._made[int(size_orders(shard)[0])] = (shard, made)
        self._last = made
        return sized_table(made)

    def stored(self, table: pd.DataFrame) -> StoredSize:
        """Return what the last images take with their rows of all manifests.

        Two of these are Parquet files and two are JSON Lines.

        Args:
            table: what the last call returned.
        """
        lines = len(table.drop(columns="size").to_json(orient="records", lines=True))
        size = stored_files(table)
        if not isinstance(self._storage, ImageFiles):
            rows = table_size(self._last.table)
            images = self._storage.bytes_on_disk(self._last, len(table), 0)
            shard = self._storage.bytes_on_disk(self._last, 0, 1)
            size = StoredSize(images + 2 * rows.rows, shard + 2 * rows.shard)
        return size._replace(rows=size.rows + 2 * lines)

    def sheet_cost(self) -> WorkCost:
        """Return the cost of the part's contact sheet, from drawing some images of every size."""
        orders = size_orders(self._builder.data)
        shown = min(SHEET_IMAGES, len(orders))
        total = WorkCost()
        for order, (shard, made) in self._made.items():
            timer = CpuTimer()
            cells = self._cells(shard, made.files[:SHEET_SAMPLE])
            file = io.BytesIO()
            draw_sheet("", cells, len(cells)).save(file, format="PNG")
            share = shown * float((orders == order).mean()) / len(cells)
            size = len(file.getvalue()) * share / 1e6
            total = total.plus(WorkCost(0, 0, timer.seconds * share, size))
        return total

    def _cells(self, shard: Dataset, files: Iterable[bytes]) -> list[SheetCell]:
        """Return the first images of a shard as a sheet shows them."""
        made = [decode(content) for content in files]
        if self._builder.attack in ("clean", "generated", "diffusion"):
            return [SheetCell([image], [""]) for image in made]
        return [
            SheetCell([clean, image, times_ten(image, clean)], [""])
            for clean, image in zip(shard.pixels(), made, strict=False)
        ]


def _costs(builder: PartBuilder, out: Path, storage: Storage) -> dict[tuple[str, str], WorkCost]:
    """Return the cost of the shards of a part that are not there yet, and of its contact sheet."""
    part = (builder.split, builder.attack)
    missing = [shard for shard, place in builder.places() if not storage.is_whole(out, place)]
    if not missing:
        return {part: WorkCost()}
    rows = pd.concat([shard.manifest for shard in missing], ignore_index=True)
    trial = PartTrial(builder, storage)
    cost = try_work(trial, Dataset(builder.data.name, rows), trial.stored, SHARD_IMAGES)
    return {part: cost, ("", f"contact sheet of {' '.join(part)}"): trial.sheet_cost()}


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above that exists."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
