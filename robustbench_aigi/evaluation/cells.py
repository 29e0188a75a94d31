"""Cells: one detector under one attack, as a table with a row an image, written in shards that survive a kill."""

import json
import math
import textwrap
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from robustbench_aigi.attacks import Attack
from robustbench_aigi.attacks.base import Result
from robustbench_aigi.attacks.oracle import Oracle
from robustbench_aigi.data import Batch, Dataset
from robustbench_aigi.data.images import encode_png
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import UserError
from robustbench_aigi.files import write_text, write_whole
from robustbench_aigi.grid import LEVELS, to_bytes
from robustbench_aigi.hashing import digest, weights_digest

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
MODES = ("clean", "static", "transfer", "white-box")
Progress = Callable[[str, int, int], None]
Work = Callable[[Dataset], pd.DataFrame]
Table = pd.DataFrame | str
"""A cell's table, or the status that stands in its place: ``error: ...`` or ``unavailable: ...``."""
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """What a cell is of.

    ``mode`` is clean, static, transfer, white-box or probe; ``attack`` is the suite's row id, or clean.
    """

    detector: str
    mode: str
    attack: str

    def folder(self, out: Path) -> Path:
        """Where its shards are."""
        return out / "cells" / self.detector / f"{self.mode}-{self.attack}"


@dataclass(frozen=True)
class Bench:
    """One detector of a run: whose cells they are, and where they are kept."""

    name: str
    detector: Detector
    out: Path
    progress: Progress

    @cached_property
    def identity(self) -> str:
        """Hash of the weights and the card."""
        return digest(weights_digest(self.detector.state_dict()), self.detector.card.model_dump(exclude={"weights"}))

    def table(self, mode: str, attack: str, data: Dataset, work: Work, *key: object) -> Table:
        """A cell's table, computed where need be; ``key`` is all that it depends on besides detector and images."""
        cell = Cell(self.name, mode, attack)
        own = digest(self.identity, *key)
        note = cell.folder(self.out) / "error.txt"
        return attempt(attack, lambda: fill(cell, own, data, work, self.out, self.progress), note)


def attempt(name: str, work: Callable[[], T], note: Path) -> T | str:
    """What ``work`` returns; if it raises, a status ``error: ...`` naming ``name``, with the traceback at ``note``."""
    note.unlink(missing_ok=True)
    try:
        return work()
    except Exception as error:
        write_text(note, traceback.format_exc())
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        return "error: " + textwrap.shorten(text if name in text else f"{name}: {text}", 500, placeholder=" ...")


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
        tables.append(pd.read_parquet(place, columns=[c for c in pq.read_schema(place).names if c != "png"]))
    progress(f"{cell.detector}: {cell.mode} {cell.attack}", len(data), len(data))
    return pd.concat(tables, ignore_index=True)


def read_cells(out: Path) -> dict[tuple[str, str, str], pd.DataFrame]:
    """The finished cells of a run by detector, mode and attack; probes and cells that failed are left out."""
    cells = {}
    for folder in sorted((out / "cells").glob("*/*")):
        mode, attack = next(
            ((m, folder.name.removeprefix(f"{m}-")) for m in MODES if folder.name.startswith(m)), ("", "")
        )
        shards = sorted(folder.glob("shard-*.parquet"))
        if mode and shards and not (folder / "error.txt").is_file():
            cells[folder.parent.name, mode, attack] = pd.concat(
                [pd.read_parquet(shard, columns=list(TABLE)) for shard in shards], ignore_index=True
            )
    return cells


def scored(detector: Detector, originals: Mapping[str, float] | None) -> Work:
    """Work that only scores: clean images, or a static set (``originals``: each parent's clean logit)."""

    def work(shard: Dataset) -> pd.DataFrame:
        logits, sizes = [], []
        for batch in shard.batches(SHARD):
            with Oracle(detector, batch.images.mul(LEVELS).round(), batch.labels, full=True) as oracle:
                logits += oracle.clean_logits.double().tolist()
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
        return table.assign(forwards=1, backwards=0)[list(TABLE)]

    return work


def attacked(
    detector: Detector, attack: Attack, seed: int, originals: Mapping[str, float] | None, *, keep_images: bool
) -> Work:
    """Work that attacks the detector itself (``originals``: clean logits, which it asks for where they are None)."""

    def work(shard: Dataset) -> pd.DataFrame:
        tables = []
        for batch in shard.batches(SHARD):
            clean = None if originals is None else torch.tensor([originals[i] for i in batch.ids], dtype=torch.float32)
            result = attack(detector, batch.images, batch.labels, ids=batch.ids, seed=seed, clean_logits=clean)
            tables.append(_table(result, batch, keep_images))
        table = pd.concat(tables, ignore_index=True).assign(generator=shard.manifest["generator"].to_numpy())
        return table[[*TABLE, "png"] if keep_images else list(TABLE)]

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
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata({"key": key})
    write_whole(place, lambda temporary: pq.write_table(arrow, temporary))


def _note_time(folder: Path, index: int, seconds: float) -> None:
    with (folder / "times.jsonl").open("a") as file:
        file.write(json.dumps({"shard": index, "seconds": round(seconds, 3)}) + "\n")
