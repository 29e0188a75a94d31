"""Rows of a manifest: a table in memory, or rows of a Parquet file that are read when asked."""

import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_aigi.data.manifest_file import Block, ManifestFile
from robustbench_aigi.data.reading import CONVERT_COLUMN, is_converted
from robustbench_aigi.io.hashing import choice_rank

Positions = npt.NDArray[np.int64]
CSV_SPECIAL = '"\r'
"""Characters besides the comma and the line end that are quoted in CSV."""


class Rows(ABC):
    """Rows of a manifest, in order."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def names(self) -> Sequence[str]:
        """Names of the columns."""

    @abstractmethod
    def frames(self, names: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield all rows, some at a time.

        Args:
            names: the columns; all if None.
        """

    @abstractmethod
    def take(self, rows: slice | Positions) -> "Rows":
        """Return some of the rows.

        Args:
            rows: consecutive ones, or positions in rising order.
        """

    @abstractmethod
    def choose(self, count: int) -> "Rows":
        """Return what :func:`choose` returns of them."""

    @abstractmethod
    def csv(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the text of a CSV file of some columns, in pieces."""

    def values(self, name: str) -> list[Any]:
        """Return the values of one column."""
        return [value for frame in self.frames([name]) for value in frame[name].tolist()]

    def numbers(self, name: str) -> Positions:
        """Return a column of whole numbers."""
        return np.concatenate([frame[name].to_numpy(np.int64) for frame in self.frames([name])])

    def where(self, name: str, values: Collection[str]) -> "Rows":
        """Return the rows with one of some values in a column, maybe none."""
        masks = [frame[name].isin(list(values)).to_numpy(bool) for frame in self.frames([name])]
        return self.take(np.flatnonzero(np.concatenate(masks)))

    def splits(self) -> list[str]:
        """Return the names of the splits, sorted."""
        return sorted({str(name) for f in self.frames(["split"]) for name in f["split"].unique()})

    def conversions(self) -> dict[str, int]:
        """Return the number of images by the conversion that they went through."""
        if CONVERT_COLUMN not in self.names:
            return {}
        parts = [
            frame.loc[is_converted(frame), CONVERT_COLUMN]
            for frame in self.frames([CONVERT_COLUMN])
        ]
        done = pd.concat(parts).value_counts()
        return {str(name): int(count) for name, count in done.items()}


@final
class FrameRows(Rows):
    """Rows in memory.

    Args:
        frame: one row per image.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def names(self) -> Sequence[str]:
        """Names of the columns."""
        return list(self.frame.columns)

    def frames(self, names: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the whole table."""
        yield self.frame if names is None else self.frame[list(names)]

    def take(self, rows: slice | Positions) -> "FrameRows":
        """Return some of the rows, numbered from 0."""
        return FrameRows(self.frame.iloc[rows].reset_index(drop=True))

    def choose(self, count: int) -> "FrameRows":
        """Return what :func:`choose` returns of them."""
        return FrameRows(choose(self.frame, count))

    def csv(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the text of a CSV file of some columns."""
        yield self.frame[list(names)].to_csv(index=False)


@final
class StoredRows(Rows):
    """Rows of a Parquet manifest, of which a block at a time is in memory.

    Args:
        file: the manifest.
        picked: which of its rows, in rising order; all if None.
    """

    def __init__(self, file: ManifestFile, picked: range | Positions | None = None) -> None:
        self.file = file
        self.picked = range(len(file)) if picked is None else picked

    def __len__(self) -> int:
        return len(self.picked)

    @property
    def names(self) -> Sequence[str]:
        """Names of the columns."""
        return self.file.names

    def frames(self, names: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """Yield the rows of one block after the other."""
        if not len(self):
            yield self.file.frame(None, slice(0, 0), names)
        for block, rows in self._blocks():
            yield self.file.frame(block, rows, names)

    def take(self, rows: slice | Positions) -> "StoredRows":
        """Return some of the rows; positions without a gap are stored as a range."""
        if isinstance(rows, slice):
            return StoredRows(self.file, self.picked[rows])
        picked = self.picked
        found = rows + picked.start if isinstance(picked, range) else picked[rows]
        if len(found) and int(found[-1] - found[0]) == len(found) - 1:
            return StoredRows(self.file, range(int(found[0]), int(found[-1]) + 1))
        return StoredRows(self.file, found)

    def choose(self, count: int) -> "StoredRows":
        """Return what :func:`choose` returns of them."""
        ranks = self._ranks
        chosen = []
        for classes in self._classes().values():
            if len(classes) > count // 2:
                order = np.argsort(ranks[classes], kind="stable")[: count // 2]
                classes = classes[order]
            chosen.append(classes)
        return self.take(np.sort(np.concatenate(chosen)) if chosen else np.empty(0, np.int64))

    def csv(self, names: Sequence[str]) -> Iterator[str]:
        """Yield the text of a CSV file of some columns, as pandas writes it."""
        yield f"{','.join(names)}{os.linesep}"
        for block, rows in self._blocks():
            plain = _plain_csv(self.file.columns(block, rows, names))
            if plain is None:
                frame = self.file.frame(block, rows, names)
                plain = frame.to_csv(index=False, header=False)
            yield plain

    def values(self, name: str) -> list[Any]:
        """Return the values of one column."""
        columns = (self.file.columns(block, rows, [name])[0] for block, rows in self._blocks())
        return [value for column in columns for value in column]

    @cached_property
    def _ranks(self) -> npt.NDArray[np.uint64]:
        """First 64 bits of each row's rank in :func:`choose`: of ten million, two are alike with a
        chance of 3 in a million.
        """
        ranks = np.empty(len(self), np.uint64)
        start = 0
        for block, rows in self._blocks():
            (ids,) = self.file.columns(block, rows, ["id"])
            ranks[start : start + len(ids)] = [int(choice_rank(name)[:16], 16) for name in ids]
            start += len(ids)
        return ranks

    def _classes(self) -> dict[tuple[str, int], Positions]:
        """Return the positions of the rows of each split and label."""
        found: dict[tuple[str, int], list[Positions]] = {}
        start = 0
        for frame in self.frames(["split", "label"]):
            for split, label in itertools.product(frame["split"].unique(), (0, 1)):
                is_own = (frame["split"] == split) & (frame["label"] == label)
                places = np.flatnonzero(is_own.to_numpy(bool)) + start
                found.setdefault((str(split), label), []).append(places)
            start += len(frame)
        return {key: np.concatenate(parts) for key, parts in found.items()}

    def _blocks(self) -> Iterator[tuple[Block, slice | Positions]]:
        """Yield the blocks that hold rows, and which of their rows these are."""
        picked = self.picked
        if not len(picked):
            return
        for block in self.file.blocks_between(int(picked[0]), int(picked[-1]) + 1):
            if isinstance(picked, range):
                start = max(picked.start, block.start)
                end = min(picked.stop, block.end)
                yield block, slice(start - block.start, end - block.start)
                continue
            low, high = np.searchsorted(picked, [block.start, block.end])
            if low < high:
                yield block, picked[low:high] - block.start


def choose(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return at most ``count`` rows per split, half of each label, in the given order.

    Args:
        rows: a manifest.
        count: rows per split. The smallest hashes of the ids are chosen, always the same ones.
    """
    rank = rows["id"].map(choice_rank)
    place = rank.groupby([rows["split"], rows["label"]]).rank(method="first")
    return rows[place <= count // 2].reset_index(drop=True)


def _plain_csv(columns: Sequence[list[Any]]) -> str | None:
    """Return columns of texts and whole numbers as lines of CSV; None if a value needs quotes."""
    if {type(value) for column in columns for value in column} - {str, int}:
        return None
    count = len(columns[0])
    text = "".join(
        f"{','.join(row)}\n" for row in zip(*(map(str, c) for c in columns), strict=True)
    )
    commas = count * (len(columns) - 1)
    is_plain = text.count(",") == commas and text.count("\n") == count
    if not is_plain or any(character in text for character in CSV_SPECIAL):
        return None
    return text if os.linesep == "\n" else text.replace("\n", os.linesep)
