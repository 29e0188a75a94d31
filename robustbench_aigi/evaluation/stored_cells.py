"""Finished cells on disk, of which a few columns of numbers are read when they are needed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, final

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_aigi.data import Dataset
from robustbench_aigi.evaluation.cells import TABLE_COLUMNS, CellKey, CellTable, read_shards
from robustbench_aigi.outcomes import Absent

SHARDS_TOGETHER = 64
"""Shards that are read before their columns are made small."""
SMALL_INTEGERS = (np.int16, np.int32)
"""Types of columns of whole numbers whose doubles they hold too."""
Numbers = npt.NDArray[Any]


@final
@dataclass(frozen=True)
class StoredCell:
    """The table of a cell.

    Attributes:
        folder: of the cell.
        names: of the files of its shards, in order.
    """

    folder: Path
    names: tuple[str, ...]

    def __call__(self) -> pd.DataFrame:
        """Read the whole table, as it is stored."""
        return read_shards(self.paths, TABLE_COLUMNS)

    @property
    def paths(self) -> list[Path]:
        """The files of its shards."""
        return [self.folder / name for name in self.names]

    def numbers(self, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """Return some columns in as little memory as they need, about 3 bytes per value.

        Ids become 64-bit hashes, generators categories, whole numbers 16 bits and labels 8.

        Args:
            columns: their names; all but the images if None.

        Raises:
            DataError: a shard is damaged.
        """
        parts: dict[str, list[Numbers]] = {}
        generators: dict[object, int] = {}
        for frame in self._frames(columns):
            for name in frame.columns:
                found = _small(name, frame[name], generators)
                parts.setdefault(str(name), []).append(found)
        table: dict[str, Any] = {name: np.concatenate(parts.pop(name)) for name in [*parts]}
        if "generator" in table:
            known = pd.Index([*generators], dtype=object)
            table["generator"] = pd.Categorical.from_codes(table["generator"], known)
        return pd.DataFrame(table, copy=False)

    def _frames(self, columns: Sequence[str] | None) -> Iterator[pd.DataFrame]:
        names = iter(self.names)
        together = list(islice(names, SHARDS_TOGETHER))
        while True:
            yield read_shards([self.folder / name for name in together], columns)
            together = list(islice(names, SHARDS_TOGETHER))
            if not together:
                return


CellOutcome = StoredCell | Absent
"""A cell's table on disk, or why it has none."""


class NumberTables(Mapping[CellKey, CellTable]):
    """Some columns of a detector's cells, each read when it is asked for.

    Args:
        cells: by mode and attack.
        columns: their names.
    """

    def __init__(self, cells: Mapping[CellKey, CellOutcome], columns: Sequence[str]) -> None:
        self._cells = cells
        self._columns = columns

    def __getitem__(self, key: CellKey) -> CellTable:
        cell = self._cells[key]
        return cell.numbers(self._columns) if isinstance(cell, StoredCell) else cell

    def __contains__(self, key: object) -> bool:
        return key in self._cells

    def __iter__(self) -> Iterator[CellKey]:
        return iter(self._cells)

    def __len__(self) -> int:
        return len(self._cells)


@final
@dataclass(frozen=True)
class CleanLogits:
    """A detector's logits of clean images, by id.

    Attributes:
        hashes: of the ids, sorted.
        logits: in the order of the hashes.
        column: of a shard that holds the ids of its clean images.
    """

    hashes: npt.NDArray[np.uint64]
    logits: npt.NDArray[np.float64]
    column: str = "id"

    @classmethod
    def read(cls, clean: StoredCell) -> "CleanLogits":
        """Read the logits of a clean cell."""
        table = clean.numbers(["id", "logit"])
        order = np.argsort(table["id"].to_numpy())
        return cls(table["id"].to_numpy()[order], table["logit"].to_numpy()[order])

    def of_sources(self) -> "CleanLogits":
        """Return the logits for shards of images that were made of the clean ones."""
        return replace(self, column="source")

    def of(self, shard: Dataset) -> list[float]:
        """Return the logit of each clean image of a shard; NaN where there is none."""
        wanted = hash_ids(shard.rows.values(self.column))
        places = np.searchsorted(self.hashes, wanted).clip(max=len(self.hashes) - 1)
        is_known = self.hashes[places] == wanted
        return [float(one) for one in np.where(is_known, self.logits[places], np.nan)]


def hash_ids(ids: Sequence[object]) -> npt.NDArray[np.uint64]:
    """Return 64-bit hashes: of ten million ids, two are alike with a chance of 3 in a million.

    Args:
        ids: texts.
    """
    return pd.util.hash_array(np.asarray(ids, dtype=object), categorize=False)


def _small(name: object, column: "pd.Series[Any]", generators: dict[object, int]) -> Numbers:
    """Return a column in as few bytes as it needs.

    Args:
        name: of the column.
        column: its values.
        generators: name to code; new ones are added.
    """
    if name == "id":
        return hash_ids(column.tolist())
    if name == "generator":
        codes, names = pd.factorize(column)
        known = [generators.setdefault(one, len(generators)) for one in names]
        return np.array([*known, -1], np.int32)[codes]
    if name == "label":
        return column.to_numpy(np.int8)
    values: Numbers = column.to_numpy()
    if values.dtype.kind not in "iu":
        return values
    largest = int(abs(values).max(initial=0))
    small = next((kind for kind in SMALL_INTEGERS if largest <= np.iinfo(kind).max // 2), np.int64)
    return values.astype(small)
