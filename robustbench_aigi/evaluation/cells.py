"""Cells: one detector under one attack, as a table with a row an image, written in shards that survive a kill."""

import json
import textwrap
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from robustbench_aigi.data import Dataset
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import UserError
from robustbench_aigi.files import write_text, write_whole
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
ERROR, CONTENTS, TIMES = "error.txt", "cell.json", "times.jsonl"
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
    """One detector of a run: whose cells they are, and where they are kept.

    ``marks`` are those of the run's grid, by mode and attack.
    """

    name: str
    detector: Detector
    out: Path
    progress: Progress
    marks: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @cached_property
    def identity(self) -> str:
        """See :func:`identity`."""
        return identity(self.detector)

    def table(self, mode: str, attack: str, data: Dataset, work: Work, *key: object) -> Table:
        """A cell's table, computed where need be; ``key`` is all that it depends on besides detector and images."""
        cell = Cell(self.name, mode, attack)
        own, mark = digest(self.identity, *key), self.marks.get((mode, attack), "")
        note = cell.folder(self.out) / ERROR
        return attempt(attack, lambda: fill(cell, own, mark, data, work, self.out, self.progress), note)


def identity(detector: Detector) -> str:
    """Hash of a detector's weights and card."""
    return digest(weights_digest(detector.state_dict()), detector.card.model_dump(exclude={"weights"}))


def attempt(name: str, work: Callable[[], T], note: Path) -> T | str:
    """What ``work`` returns; if it raises, a status ``error: ...`` naming ``name``, also at ``note``."""
    note.unlink(missing_ok=True)
    try:
        return work()
    except Exception as error:
        text = str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
        text = "error: " + textwrap.shorten(text if name in text else f"{name}: {text}", 500, placeholder=" ...")
        write_text(note, f"{text}\n\n{traceback.format_exc()}")
        return text


def fill(cell: Cell, key: str, mark: str, data: Dataset, work: Work, out: Path, progress: Progress) -> pd.DataFrame:
    """Compute the shards of a cell that are not there yet, and return its whole table.

    Args:
        key: hash of all that the numbers depend on; shards of another key are computed anew.
        mark: the grid's, which tells finished cells of this run from those of an earlier one.
        work: a shard of images to its table, with a column ``png`` if the images are to be kept.
    """
    folder, tables = cell.folder(out), []
    folder.mkdir(parents=True, exist_ok=True)
    shards = [(f"shard-{index:04d}.parquet", shard) for index, shard in enumerate(data.slices(SHARD))]
    keys = {name: digest(SCHEMA, key, shard.key) for name, shard in shards}
    _write_contents(folder, Contents(mark=mark, shards=keys))
    for index, (name, shard) in enumerate(shards):
        place, own = folder / name, keys[name]
        if _key_of(place) != own:
            progress(f"{cell.detector}: {cell.mode} {cell.attack}", index * SHARD, len(data))
            began = time.monotonic()
            table = work(shard)
            _write(table, place, own)
            _note_time(folder, index, time.monotonic() - began)
        tables.append(pd.read_parquet(place, columns=[c for c in pq.read_schema(place).names if c != "png"]))
    progress(f"{cell.detector}: {cell.mode} {cell.attack}", len(data), len(data))
    return pd.concat(tables, ignore_index=True)


class Contents(BaseModel, frozen=True):
    """``cell.json``: the mark of what a cell is of, and the key that each of its shards will have."""

    mark: str
    shards: dict[str, str]


def _write_contents(folder: Path, contents: Contents) -> None:
    text = contents.model_dump_json()
    path = folder / CONTENTS
    if not path.is_file() or path.read_text() != text:
        write_text(path, text)


def finished_shards(folder: Path, mark: str) -> tuple[list[Path], bool]:
    """The finished shards of a cell with that mark, and whether they are all of it."""
    path = folder / CONTENTS
    if not path.is_file():
        return [], False
    contents = Contents.model_validate_json(path.read_bytes())
    if contents.mark != mark:
        return [], False
    done = [folder / name for name, key in contents.shards.items() if _key_of(folder / name) == key]
    return done, len(done) == len(contents.shards)


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
    with (folder / TIMES).open("a") as file:
        file.write(json.dumps({"shard": index, "seconds": round(seconds, 3)}) + "\n")
