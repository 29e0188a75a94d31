"""NumPy archives: ``split.npz`` with ``images`` (uint8, N x H x W x 3), ``labels`` and ``ids``,
written as a stream.
"""

import functools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from robustbench_aigi.data.decoding import ImageError, decode
from robustbench_aigi.data.photographs import Pixels
from robustbench_aigi.data.plusplus.reader import Built
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.progress import Progress

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""The time that every member is given, so that the same images are the same bytes."""


def write(built: Built, out: Path, progress: Progress, shard_bytes: int) -> dict[str, int]:
    """Write one archive a split; ``shard_bytes`` has no meaning here. Raises ``DataError`` if image
    sizes differ.
    """
    for split, count in built.counts().items():
        atomic_write(
            out / f"{split}.npz", functools.partial(_archive, built, split, count, progress)
        )
    return {}


def _archive(built: Built, split: str, count: int, progress: Progress, target: Path) -> None:
    width = max(len(row["id"]) for row in built.rows(split))
    pixels = _pixels(built, split, progress)
    first = next(pixels)
    with zipfile.ZipFile(target, "w") as archive:
        with _member(archive, "images", "|u1", (count, *first.shape)) as file:
            file.write(first.tobytes())
            for image in pixels:
                file.write(image.tobytes())
        with _member(archive, "labels", "<i8", (count,)) as file:
            for row in built.rows(split):
                file.write(np.array(row["label"], dtype="<i8").tobytes())
        with _member(archive, "ids", f"<U{width}", (count,)) as file:
            for row in built.rows(split):
                file.write(np.array(row["id"], dtype=f"<U{width}").tobytes())


def _member(archive: zipfile.ZipFile, name: str, kind: str, shape: tuple[int, ...]) -> IO[bytes]:
    file = archive.open(zipfile.ZipInfo(f"{name}.npy", LONG_AGO), "w", force_zip64=True)
    header = {"descr": kind, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call,unused-ignore]
    return file


def _pixels(built: Built, split: str, progress: Progress) -> Iterator[Pixels]:
    size: tuple[int, ...] | None = None
    for item in built.items(split, progress):
        try:
            image = decode(item.content).permute(1, 2, 0).contiguous().numpy()
        except ImageError as reason:
            raise DataError(
                f"{item.row['path']} cannot be read: {reason}. Build the set again without it."
            ) from reason
        size = size or image.shape
        if image.shape != size:
            raise DataError(
                f"an .npz holds one image size, and {split} has {size[1]} x {size[0]} and"
                f" {image.shape[1]} x {image.shape[0]} ({item.row['id']}). Export it as"
                " imagefolder, parquet or webdataset."
            )
        yield image
