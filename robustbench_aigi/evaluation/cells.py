"""Cells: one detector under one attack, one row per image, written in shards to resume from."""

import json
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ValidationError

from robustbench_aigi.errors import RobustbenchError, WorkersLostError, WriteError
from robustbench_aigi.evaluation.batching import is_out_of_memory
from robustbench_aigi.io.files import atomic_write, describe_read_errors, write_text
from robustbench_aigi.outcomes import Absent, Failed

CELL_SCHEMA = 2
"""Version of a cell's table; shards of another one are computed again."""
SHARD_SIZE = 250
"""Images in a shard, the unit of work."""
MAX_REASON_LENGTH = 500
"""Characters of an error in the column ``status``."""
TABLE_COLUMNS = (
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
    "draws",
    "wrong",
    "wrong_half",
    "kept",
)
"""``fooled`` is whether one score drawn after the attack is wrong. Of ``draws`` such scores
``wrong`` are wrong, and ``wrong_half`` of the first half of them; ``kept`` is what the attack
itself saw. All agree for a detector that does not score at random, of which one score is drawn.
"""
ATTACK_MODES = ("clean", "static", "transfer", "white-box")
GradientFormat = Literal["bfloat16"]
"""Format of gradients that are not in the detector's own."""
ERROR_FILE = "error.txt"
CONTENTS_FILE = "cell.json"
TIMES_FILE = "times.jsonl"
Work = Callable[..., pd.DataFrame]
"""A shard of images, and the clean logits of its rows where they are known, to a table with one row
per image.
"""
CellTable = pd.DataFrame | Absent
"""A cell's table, or why it has none."""
CellKey = tuple[str, str]
"""Mode and attack of one detector's cell."""
T = TypeVar("T")


@dataclass(frozen=True)
class Cell:
    """What a cell is of.

    ``mode`` is clean, static, transfer, white-box or probe; ``attack`` is the suite's row id, or
    clean.
    """

    detector: str
    mode: str
    attack: str

    def folder(self, out: Path) -> Path:
        """Where its shards are."""
        return out / "cells" / self.detector / f"{self.mode}-{self.attack}"


def capture_failure(name: str, work: Callable[[], T]) -> T | Failed:
    """Return what ``work`` returns; if it raises, the error as an outcome.

    Args:
        name: of what is done; the reason begins with it where the error does not contain it.
        work: what to do.

    Raises:
        WriteError, WorkersLostError: nothing else would succeed either.
    """
    try:
        return work()
    except (WriteError, WorkersLostError):
        raise
    except Exception as error:
        known = isinstance(error, RobustbenchError)
        text = str(error) if known else f"{type(error).__name__}: {error}"
        reason = textwrap.shorten(
            text if name in text else f"{name}: {text}", MAX_REASON_LENGTH, placeholder=" ..."
        )
        return Failed(reason, traceback.format_exc(), is_out_of_memory(error))


class CellContents(BaseModel, frozen=True):
    """``cell.json``.

    Attributes:
        fingerprint: of the cell.
        shards: the key that each of its shards will have.
        channels_last: whether the detector ran in another memory format than it was given in.
        gradients: the number format of an attack's gradients; None for the detector's own.
    """

    fingerprint: str
    shards: dict[str, str]
    gradients: GradientFormat | None = None
    channels_last: bool = False


def write_contents(folder: Path, contents: CellContents) -> None:
    """Write ``cell.json``."""
    text = contents.model_dump_json()
    path = folder / CONTENTS_FILE
    if not path.is_file() or path.read_text() != text:
        write_text(path, text)


def finished_shards(folder: Path, fingerprint: str | None = None) -> tuple[list[str], bool]:
    """Return the names of a cell's finished shards, and whether they are all of it.

    Files that an earlier, larger run left in the folder are not among them.

    Args:
        folder: of the cell.
        fingerprint: what the cell must be of; any if None.
    """
    path = folder / CONTENTS_FILE
    if not path.is_file():
        return [], False
    try:
        contents = CellContents.model_validate_json(path.read_bytes())
    except ValidationError:
        return [], False
    if (fingerprint is not None and contents.fingerprint != fingerprint) or any(
        Path(name).name != name for name in contents.shards
    ):
        return [], False
    done = [
        sys.intern(name) for name, key in contents.shards.items() if key_of(folder / name) == key
    ]
    return done, len(done) == len(contents.shards)


def key_of(place: Path) -> str | None:
    """The key of a shard; None if it is not there, or no Parquet file any more."""
    if not place.is_file():
        return None
    try:
        metadata: dict[bytes, bytes] = pq.read_schema(place).metadata or {}
    except (pa.ArrowException, OSError):
        return None
    return metadata.get(b"key", b"").decode(errors="replace")


def read_shards(places: Sequence[Path], columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Some columns of a cell's shards, one below the other; all but the images if None.

    Raises ``DataError`` if one is damaged, or is not of the same make as the others.
    """
    parts = [_read(place, columns) for place in places]
    if not parts:
        return pd.DataFrame(columns=list(columns or TABLE_COLUMNS))
    with describe_read_errors(places[0].parent):
        whole = pa.concat_tables(
            parts, promote_options="permissive"
        )  # a shard's column may be all empty
        return pd.DataFrame(whole.to_pandas())


def _read(place: Path, columns: Sequence[str] | None) -> pa.Table:
    with describe_read_errors(place):
        with pq.ParquetFile(place) as file:
            table = file.read(
                list(columns or [name for name in file.schema_arrow.names if name != "png"])
            )
        lost = set(columns or ()) - set(table.column_names)
        if lost:
            raise KeyError(f"no column {', '.join(sorted(lost))}")
        table.validate(full=True)
        return table.replace_schema_metadata(None)


def encode_shard(table: pd.DataFrame, key: str) -> bytes:
    """Return the file of a shard, whose key is in its metadata."""
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata({"key": key})
    buffer = pa.BufferOutputStream()
    pq.write_table(arrow, buffer)
    return bytes(buffer.getvalue())


def write_shard(table: pd.DataFrame, place: Path, key: str) -> None:
    """Write a shard, which is whole or not there."""
    content = encode_shard(table, key)
    atomic_write(place, lambda temporary: temporary.write_bytes(content))


def note_time(folder: Path, index: int, seconds: float) -> None:
    """Keep how long a shard took."""
    with (folder / TIMES_FILE).open("a") as file:
        file.write(json.dumps({"shard": index, "seconds": round(seconds, 3)}) + "\n")


def read_times(folder: Path) -> dict[int, float]:
    """Seconds by shard, the last time each was made; a line cut short by a kill is left out."""
    path = folder / TIMES_FILE
    found: dict[int, float] = {}
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else ():
        with suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            found[int(row["shard"])] = float(row["seconds"])
    return found
