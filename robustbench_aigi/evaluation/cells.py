"""Cells: one detector under one attack, as a table with a row an image, written in shards that survive a kill."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from robustbench_aigi.attacks import Row
from robustbench_aigi.attacks.base import Result
from robustbench_aigi.data import Batch, Dataset
from robustbench_aigi.data.images import encode_png
from robustbench_aigi.detectors import Detector
from robustbench_aigi.files import write_whole
from robustbench_aigi.grid import to_bytes
from robustbench_aigi.hashing import digest

SCHEMA = 1
SHARD = 250
TABLE = (
    "id",
    "label",
    "generator",
    "clean_logit",
    "logit",
    "fooled",
    "linf",
    "l2",
    "l0",
    "psnr",
    "forwards",
    "backwards",
)
Progress = Callable[[str, int, int], None]
Work = Callable[[Dataset], pd.DataFrame]


@dataclass(frozen=True)
class Cell:
    """What a cell is of. ``mode`` is clean, static or white-box; ``attack`` is the suite's row id, or clean."""

    detector: str
    mode: str
    attack: str

    def folder(self, out: Path) -> Path:
        """Where its shards are."""
        return out / "cells" / self.detector / f"{self.mode}-{self.attack}"


def fill(cell: Cell, key: str, data: Dataset, work: Work, out: Path, progress: Progress) -> pd.DataFrame:
    """Compute the shards of a cell that are not there yet, and return its whole table.

    Args:
        key: hash of all that the numbers depend on; shards of another key are computed anew.
        work: a shard of images to its table, with a column ``png`` if the images are to be kept.
    """
    folder, tables = cell.folder(out), []
    folder.mkdir(parents=True, exist_ok=True)
    for index, shard in enumerate(data.slices(SHARD)):
        place = folder / f"shard-{index:04d}.parquet"
        own = digest(SCHEMA, key, shard.key)
        if _key_of(place) != own:
            progress(f"{cell.detector}: {cell.mode} {cell.attack}", index * SHARD, len(data))
            began = time.monotonic()
            table = work(shard)
            _write(table, place, own)
            _note_time(folder, index, time.monotonic() - began)
        tables.append(pd.read_parquet(place, columns=list(TABLE)))
    progress(f"{cell.detector}: {cell.mode} {cell.attack}", len(data), len(data))
    return pd.concat(tables, ignore_index=True)


def scored(detector: Detector, originals: dict[str, float] | None) -> Work:
    """Work that only scores: clean images, or a static set (``originals``: each parent's clean logit)."""

    def work(shard: Dataset) -> pd.DataFrame:
        logits, sizes = [], []
        with torch.no_grad():
            for batch in shard.batches(SHARD):
                logits += detector.logits(batch.images).double().tolist()
                sizes += [batch.images[0].numel()] * len(batch.ids)
        rows = shard.manifest
        ids = rows["id"] if originals is None else rows["source"]
        clean = logits if originals is None else [originals.get(i, float("nan")) for i in ids]
        table = pd.DataFrame({"id": ids, "label": rows["label"], "generator": rows["generator"], "clean_logit": clean})
        table["logit"] = logits
        table["fooled"] = (table["logit"] > detector.threshold) != (table["label"] == 1)
        for column in ("linf", "l2", "l0"):
            table[column] = rows.get(column, 0)
        table["psnr"] = [psnr(l2, size) for l2, size in zip(table["l2"], sizes, strict=True)]
        return table.assign(forwards=1, backwards=0)

    return work


def attacked(detector: Detector, row: Row, seed: int, keep_images: bool) -> Work:
    """Work that attacks the detector itself, through its own gradients or scores."""

    def work(shard: Dataset) -> pd.DataFrame:
        tables = []
        for batch in shard.batches(SHARD):
            result = row.built(detector, batch.images, batch.labels, ids=batch.ids, seed=seed)
            tables.append(_table(result, batch, keep_images))
        return pd.concat(tables, ignore_index=True).assign(generator=shard.manifest["generator"].to_numpy())

    return work


def psnr(l2: float, values: int) -> float:
    """Peak signal-to-noise ratio in dB from the [0, 1]-norm of a change to ``values`` numbers; inf if none."""
    return -20 * math.log10(l2 / math.sqrt(values)) if l2 > 0 else math.inf


def _table(result: Result, batch: Batch, keep_images: bool) -> pd.DataFrame:
    size = batch.images[0].numel()
    table = pd.DataFrame(
        {
            "id": batch.ids,
            "label": batch.labels,
            "clean_logit": result.clean_logits.double(),
            "logit": result.logits.double(),
            "fooled": result.fooled,
            "linf": result.linf,
            "l2": result.l2,
            "l0": result.l0,
            "psnr": [psnr(l2, size) for l2 in result.l2.tolist()],
            "forwards": result.forwards,
            "backwards": result.backwards,
        }
    )
    return table.assign(png=[encode_png(p) for p in to_bytes(result.images)]) if keep_images else table


def _key_of(place: Path) -> str | None:
    if not place.is_file():
        return None
    metadata: dict[bytes, bytes] = pq.read_schema(place).metadata or {}
    return metadata.get(b"key", b"").decode()


def _write(table: pd.DataFrame, place: Path, key: str) -> None:
    """A shard is whole or not there; its key travels in its metadata."""
    columns = [*TABLE, "png"] if "png" in table else list(TABLE)
    arrow = pa.Table.from_pandas(table[columns], preserve_index=False).replace_schema_metadata({"key": key})
    write_whole(place, lambda temporary: pq.write_table(arrow, temporary))


def _note_time(folder: Path, index: int, seconds: float) -> None:
    with (folder / "times.jsonl").open("a") as file:
        file.write(json.dumps({"shard": index, "seconds": round(seconds, 3)}) + "\n")
