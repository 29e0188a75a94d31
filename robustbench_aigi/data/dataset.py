"""A dataset: a manifest with one row per image, and the bytes behind it, read as a stream."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from robustbench_aigi.config.process import LARGE_BYTES, give_large_memory_back
from robustbench_aigi.data.decoding import decode, encode_png, read_header
from robustbench_aigi.data.reading import (
    CONVERT_COLUMN,
    is_converted,
    read_contents,
    read_pixels,
)
from robustbench_aigi.errors import DataError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.io.hashing import digest
from robustbench_aigi.io.read_ahead import read_ahead

MANIFEST_COLUMNS = (
    "id",
    "label",
    "split",
    "generator",
    "category",
    "parent",
    "sha256",
    "path",
    "row",
)
"""``row`` is -1 for an image file; else the row of the Parquet file at ``path``, or the byte of the
tar archive there at which the image begins. Rows are sorted by image size, to fill batches.
"""
SIZE_COLUMNS = ("height", "width")
"""Further columns where the sizes of the images are known, in pixels."""
DEFAULT_BATCH = 64
"""Images per batch when a dataset is iterated."""
BATCH_PIXELS = 2**22
"""Pixels per batch at most: 64 images of 256 x 256, of which an attack holds a dozen copies."""
FLOAT_BYTES = 4
"""Bytes of a float32 value."""
SLICE_PIXELS = 2**25
"""Pixels per slice at most, whose results a worker holds until the last is done: 32 photographs of
1024 x 1024."""


class Batch(NamedTuple):
    """Images of one size.

    Attributes:
        images: float32 ``(N, 3, H, W)`` in [0, 1], multiples of 1/255.
        labels: int64 ``(N,)``; 1 is AI-generated, 0 is real.
        ids: ``N`` names.
    """

    images: Float[Tensor, "n 3 h w"]
    labels: Int[Tensor, " n"]
    ids: list[str]


@dataclass(frozen=True)
class Dataset:
    """Rows of a manifest and how to read them; the images are never all in memory.

    Iterating yields batches of :data:`DEFAULT_BATCH` images.

    Attributes:
        name: what messages call it.
        manifest: one row per image, with :data:`MANIFEST_COLUMNS`.
    """

    name: str
    manifest: pd.DataFrame

    def __len__(self) -> int:
        return len(self.manifest)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(DEFAULT_BATCH)

    def split(self, name: str) -> "Dataset":
        """Return the images of one split.

        Args:
            name: train, validation or test.

        Raises:
            DataError: it has no images.
        """
        rows = self.manifest[self.manifest["split"] == name]
        if rows.empty:
            known = ", ".join(sorted(self.manifest["split"].unique()))
            raise DataError(
                f"{self.name} has no {name!r} split. It has: {known or 'no images at all'}."
            )
        return Dataset(self.name, rows.reset_index(drop=True))

    def limit(self, count: int | None) -> "Dataset":
        """Return at most ``count`` images per split, half of each class, always the same ones.

        Args:
            count: images per split; None keeps all of them.
        """
        if count is None:
            return self
        return Dataset(self.name, choose(self.manifest, count))

    def slices(self, size: int) -> list["Dataset"]:
        """Return consecutive parts, of ``size`` images or of fewer large ones.

        Args:
            size: images per part at most; :data:`SLICE_PIXELS` may allow fewer.
        """
        starts = [*self._starts(size), len(self)]
        return [
            Dataset(self.name, self.manifest.iloc[start:end].reset_index(drop=True))
            for start, end in itertools.pairwise(starts)
        ]

    def _starts(self, size: int) -> Iterator[int]:
        """Yield the rows at which parts begin."""
        areas = self._areas
        if areas is None or int(areas.max(initial=0)) * size <= SLICE_PIXELS:
            yield from range(0, len(self), size)
            return
        start = 0
        held = 0
        for position, area in enumerate(areas.tolist()):
            if position == 0 or position - start == size or held + area > SLICE_PIXELS:
                yield position
                start = position
                held = 0
            held += area

    @property
    def _areas(self) -> npt.NDArray[np.int64] | None:
        """Pixels of every image; None where the manifest does not hold their sizes."""
        if not set(SIZE_COLUMNS) <= set(self.manifest.columns):
            return None
        sizes = self.manifest[list(SIZE_COLUMNS)].to_numpy(np.int64)
        areas: npt.NDArray[np.int64] = sizes.prod(axis=1)
        return areas

    def pixels(self) -> Iterator[UInt8[Tensor, "3 h w"]]:
        """Yield every image as uint8 ``(3, H, W)``, in manifest order.

        Raises:
            DataError: an image is missing or has changed.
        """
        yield from read_pixels(self.manifest)

    def contents(self) -> Iterator[bytes]:
        """Yield every image file's bytes, in manifest order."""
        yield from read_contents(self.manifest)

    def files(self) -> Iterator[bytes]:
        """Yield the file that a copy of every image is stored as.

        It is the image's own file, or a PNG file if the image is converted.
        """
        for content, convert in zip(self.contents(), is_converted(self.manifest), strict=True):
            yield encode_png(decode(content, convert=True)) if convert else content

    @property
    def conversions(self) -> dict[str, int]:
        """Number of images by the conversion that they went through."""
        if CONVERT_COLUMN not in self.manifest:
            return {}
        done = self.manifest.loc[is_converted(self.manifest), CONVERT_COLUMN].value_counts()
        return {str(name): int(count) for name, count in done.items()}

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield batches in manifest order; a change of image size begins a new batch.

        The next batch is read and decoded while the present one is worked on.

        Args:
            size: images per batch at most; :data:`BATCH_PIXELS` may allow fewer.
        """
        for pixels, start in read_ahead(self._alike(size)):
            if pixels[0].numel() * FLOAT_BYTES >= LARGE_BYTES:
                give_large_memory_back()
            yield self._batch(pixels, start)

    def _alike(self, size: int) -> Iterator[tuple[list[Tensor], int]]:
        """Yield the pixels of each batch, and the row at which it begins."""
        waiting: list[Tensor] = []
        start = 0
        for position, pixels in enumerate(self.pixels()):
            capacity = min(size, max(1, BATCH_PIXELS // pixels[0].numel()))
            is_full = len(waiting) == capacity
            if waiting and (is_full or waiting[-1].shape != pixels.shape):
                yield waiting, start
                waiting = []
                start = position
            waiting.append(pixels)
        if waiting:
            yield waiting, start

    def arrays(self) -> tuple[UInt8[Tensor, "n 3 h w"], Int[Tensor, " n"]]:
        """Return all images as one uint8 ``(N, 3, H, W)``, and their labels ``(N,)``.

        Raises:
            DataError: there are no images, or their sizes differ.
        """
        images: Tensor | None = None
        for position, pixels in enumerate(self.pixels()):
            if images is None:
                images = torch.empty(len(self), *pixels.shape, dtype=torch.uint8)
            if pixels.shape != images.shape[1:]:
                raise DataError(
                    f"{self.name} mixes image sizes ({tuple(images.shape[2:])} and"
                    f" {tuple(pixels.shape[1:])}). In memory they need one"
                    f" size: cut them by `train --config size={images.shape[2]}`."
                )
            images[position] = pixels
        if images is None:
            raise DataError(
                f"{self.name} has no images here. Check the source with `robustbench-aigi inspect`."
            )
        return images, torch.tensor(self.manifest["label"].to_numpy())

    def one_size(self) -> tuple[int, int] | None:
        """Return height and width of all images; None if they differ, or if there are no images.

        Where the manifest does not hold the sizes, headers are read until one differs.
        """
        if set(SIZE_COLUMNS) <= set(self.manifest.columns):
            known = self.manifest[list(SIZE_COLUMNS)].drop_duplicates()
            return tuple(known.iloc[0].tolist()) if len(known) == 1 else None
        sizes: set[tuple[int, int]] = set()
        for content in self.contents():
            header = read_header(content)
            sizes.add((header.height, header.width))
            if len(sizes) > 1:
                return None
        return next(iter(sizes), None)

    def groups(self) -> Int[Tensor, " n"]:
        """Return numbers ``(N,)`` that are equal for images of one parent.

        A photograph and its reconstructions have one parent.
        """
        return torch.tensor(pd.factorize(self.manifest["parent"])[0])

    @cached_property
    def key(self) -> str:
        """Hash of ids, labels, splits, contents and conversions: equal keys mean equal images."""
        columns = ["id", "label", "split", "sha256"]
        if is_converted(self.manifest).any():
            columns.append(CONVERT_COLUMN)
        return digest(self.manifest[columns].to_csv(index=False))

    def _batch(self, pixels: list[Tensor], start: int) -> Batch:
        rows = self.manifest.iloc[start : start + len(pixels)]
        return Batch(
            from_bytes(torch.stack(pixels)),
            torch.tensor(rows["label"].to_numpy()),
            rows["id"].tolist(),
        )


def describe_counts(data: Dataset, skipped: Path) -> str:
    """Return one line with the images per split and class, and how many were skipped.

    Args:
        data: what was loaded.
        skipped: the CSV file that lists the skipped images; it may be missing.
    """
    table = data.manifest.groupby(["split", "label"]).size().unstack(fill_value=0)
    parts = [f"{split} {row[0]} real + {row[1]} AI-generated" for split, row in table.iterrows()]
    count = len(pd.read_csv(skipped)) if skipped.is_file() else 0
    where = f" (see {skipped})" if count else ""
    return f"{data.name}: {'; '.join(parts)}; {count} left out{where}"


def choose(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Return at most ``count`` rows per split, half of each label, in the given order.

    Args:
        rows: a manifest.
        count: rows per split. The smallest hashes of the ids are chosen, always the same ones.
    """
    rank = rows["id"].map(lambda identity: digest("choose", identity))
    place = rank.groupby([rows["split"], rows["label"]]).rank(method="first")
    return rows[place <= count // 2].reset_index(drop=True)
