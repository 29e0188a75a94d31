"""A dataset: a manifest with a row an image, and the bytes behind it, read as a stream."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from robustbench_aigi.data.decoding import ImageError, decode, encode_png
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.errors import DataError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.io.hashing import digest

COLUMNS = ("id", "label", "split", "generator", "category", "parent", "sha256", "path", "row")
"""Manifest columns. ``row`` is -1 for a file of its own, else the row of the Parquet file at
``path``, or the byte of the tar archive there at which the image begins. Rows come by image size,
so that batches are whole.
"""
CONVERTED = "convert"
"""A further column where some images are converted: what was done to each, and the version of the
rules; else empty.
"""

BATCH_PIXELS = 2**22
"""Pixels in a batch, whatever its size: 64 images of 256 x 256, of which an attack holds a dozen
copies.
"""


class Batch(NamedTuple):
    """``images`` float32 ``(N, 3, H, W)`` in [0, 1] on the 8-bit grid, ``labels`` int64 (1 =
    AI-generated), ``ids``.
    """

    images: Tensor
    labels: Tensor
    ids: list[str]


@dataclass(frozen=True)
class Dataset:
    """Rows of a manifest and how to read them. Iterating gives batches of 64; images are never all
    in memory.
    """

    name: str
    manifest: pd.DataFrame

    def __len__(self) -> int:
        return len(self.manifest)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(64)

    def split(self, name: str) -> "Dataset":
        """The images of one split. Raises ``DataError`` if it is empty."""
        rows = self.manifest[self.manifest["split"] == name]
        if rows.empty:
            known = ", ".join(sorted(self.manifest["split"].unique()))
            raise DataError(
                f"{self.name} has no {name!r} split. It has: {known or 'no images at all'}."
            )
        return Dataset(self.name, rows.reset_index(drop=True))

    def limit(self, count: int | None) -> "Dataset":
        """At most ``count`` images a split, classes balanced, the same ones every time."""
        if count is None:
            return self
        return Dataset(self.name, choose(self.manifest, count))

    def slices(self, size: int) -> list["Dataset"]:
        """Consecutive parts of ``size`` images, the last one shorter."""
        starts = range(0, len(self), size)
        return [
            Dataset(self.name, self.manifest.iloc[start : start + size].reset_index(drop=True))
            for start in starts
        ]

    def pixels(self) -> Iterator[Tensor]:
        """Yield every image as uint8 ``(3, H, W)``, in manifest order. Raises ``DataError`` if one
        has changed.
        """
        yield from read_pixels(self.manifest)

    def contents(self) -> Iterator[bytes]:
        """Yield every image file's bytes, in manifest order."""
        yield from read_contents(self.manifest)

    def files(self) -> Iterator[bytes]:
        """Yield what a copy of every image is stored as: its file's bytes, or a PNG file if it is
        converted.
        """
        for content, convert in zip(self.contents(), is_converted(self.manifest), strict=True):
            yield encode_png(decode(content, convert=True)) if convert else content

    @property
    def conversions(self) -> dict[str, int]:
        """How many images went through which conversion."""
        if CONVERTED not in self.manifest:
            return {}
        done = self.manifest.loc[is_converted(self.manifest), CONVERTED].value_counts()
        return {str(name): int(count) for name, count in done.items()}

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield batches of at most ``size`` images, in manifest order.

        A change of image size starts a new batch; so do :data:`BATCH_PIXELS`, which bound the
        memory.
        """
        held: list[Tensor] = []
        start = 0
        for position, pixels in enumerate(self.pixels()):
            most = min(size, max(1, BATCH_PIXELS // pixels[0].numel()))
            if held and (len(held) == most or held[-1].shape != pixels.shape):
                yield self._batch(held, start)
                held, start = [], position
            held.append(pixels)
        if held:
            yield self._batch(held, start)

    def arrays(self) -> tuple[Tensor, Tensor]:
        """All images as one uint8 ``(N, 3, H, W)`` and their labels. Raises ``DataError`` if sizes
        differ.
        """
        images: Tensor | None = None
        for position, pixels in enumerate(self.pixels()):
            if images is None:
                images = torch.empty(len(self), *pixels.shape, dtype=torch.uint8)
            if pixels.shape != images.shape[1:]:
                raise DataError(
                    f"{self.name} mixes image sizes ({tuple(images.shape[2:])} and"
                    f" {tuple(pixels.shape[1:])}). Training takes one size, evaluation any: resize"
                    " them to one size first."
                )
            images[position] = pixels
        if images is None:
            raise DataError(
                f"{self.name} has no images here. Check the source with `robustbench-aigi build`."
            )
        return images, torch.tensor(self.manifest["label"].to_numpy())

    def groups(self) -> Tensor:
        """``(N,)`` numbers, the same for images of one parent: a photograph and its
        reconstructions.
        """
        return torch.tensor(pd.factorize(self.manifest["parent"])[0])

    @cached_property
    def key(self) -> str:
        """Hash of the ids, labels, splits, contents and conversions: two datasets with one key hold
        the same images.
        """
        named = [
            "id",
            "label",
            "split",
            "sha256",
            *([CONVERTED] if is_converted(self.manifest).any() else []),
        ]
        return digest(self.manifest[named].to_csv(index=False))

    def _batch(self, held: list[Tensor], start: int) -> Batch:
        rows = self.manifest.iloc[start : start + len(held)]
        return Batch(
            from_bytes(torch.stack(held)),
            torch.tensor(rows["label"].to_numpy()),
            rows["id"].tolist(),
        )


def counts(data: Dataset, skipped: Path) -> str:
    """One line: images of each class in each split, and how many were left out, as listed in
    ``skipped``.
    """
    table = data.manifest.groupby(["split", "label"]).size().unstack(fill_value=0)
    parts = [f"{split} {row[0]} real + {row[1]} AI-generated" for split, row in table.iterrows()]
    left = len(pd.read_csv(skipped)) if skipped.is_file() else 0
    return f"{data.name}: {'; '.join(parts)}; {left} left out" + (
        f" (see {skipped})" if left else ""
    )


def choose(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """At most ``count`` rows a split, half of each label, drawn by the hash of the id; the order is
    kept.
    """
    rank = rows["id"].map(lambda identity: digest("choose", identity))
    place = rank.groupby([rows["split"], rows["label"]]).rank(method="first")
    return rows[place <= count // 2].reset_index(drop=True)


def read_contents(rows: pd.DataFrame) -> Iterator[bytes]:
    """Yield the bytes behind manifest rows, in order. Raises ``DataError`` if some are gone."""
    contents = Contents()
    for place, (path, row) in enumerate(zip(rows["path"], rows["row"], strict=True)):
        try:
            yield contents.read(path, row)
        except ImageError as reason:
            raise DataError(_changed(rows, place, reason)) from reason


def read_pixels(rows: pd.DataFrame) -> Iterator[Tensor]:
    """Yield the pixels behind manifest rows, uint8 ``(3, H, W)``, converted where the rows say so.

    Raises:
        DataError: an image is gone, or is not what was listed.
    """
    for place, (content, convert) in enumerate(
        zip(read_contents(rows), is_converted(rows), strict=True)
    ):
        try:
            yield decode(content, convert=bool(convert))
        except ImageError as reason:
            raise DataError(_changed(rows, place, reason)) from reason


def is_converted(rows: pd.DataFrame) -> "pd.Series[bool]":
    """Which rows of a manifest are of images that a conversion changed."""
    if CONVERTED not in rows:
        return pd.Series(False, index=rows.index)
    return rows[CONVERTED].fillna("") != ""


def _changed(rows: pd.DataFrame, place: int, reason: ImageError) -> str:
    where = f"{rows['id'].iat[place]} at {rows['path'].iat[place]}"
    return (
        f"{where}: {reason}. It was readable when the dataset was listed: restore it, or load or"
        " build it again."
    )
