"""NumPy archives, written as a stream."""

import functools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, final

import numpy as np

from robustbench_aigi.data.decoding import ImageError, decode
from robustbench_aigi.data.exporters.base import ExportFormat, export_formats
from robustbench_aigi.data.photographs import Pixels
from robustbench_aigi.data.plusplus.reader import BuiltDataset
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.progress import Progress

MEMBER_TIME = (1980, 1, 1, 0, 0, 0)
"""Time of every member of an archive, so that the same images are the same bytes."""


@export_formats.add("npz")
@final
class Npz(ExportFormat):
    """Archives ``split.npz`` with ``images`` (uint8, N x H x W x 3), ``labels`` and ``ids``."""

    def write(
        self, built: BuiltDataset, out: Path, progress: Progress, shard_bytes: int
    ) -> Mapping[str, int]:
        """Write one archive per split; ``shard_bytes`` has no meaning here.

        Raises:
            DataError: image sizes differ, or an image cannot be read.
        """
        for split, count in built.counts().items():
            write = functools.partial(_write_archive, built, split, count, progress)
            atomic_write(out / f"{split}.npz", write)
        return {}


def _write_archive(
    built: BuiltDataset, split: str, count: int, progress: Progress, target: Path
) -> None:
    width = max(len(row["id"]) for row in built.rows(split))
    pixels = _pixels(built, split, progress)
    first = next(pixels)
    with zipfile.ZipFile(target, "w") as archive:
        with _open_member(archive, "images", "|u1", (count, *first.shape)) as file:
            file.write(first.tobytes())
            for image in pixels:
                file.write(image.tobytes())
        with _open_member(archive, "labels", "<i8", (count,)) as file:
            for row in built.rows(split):
                file.write(np.array(row["label"], dtype="<i8").tobytes())
        with _open_member(archive, "ids", f"<U{width}", (count,)) as file:
            for row in built.rows(split):
                file.write(np.array(row["id"], dtype=f"<U{width}").tobytes())


def _open_member(
    archive: zipfile.ZipFile, name: str, dtype: str, shape: tuple[int, ...]
) -> IO[bytes]:
    file = archive.open(zipfile.ZipInfo(f"{name}.npy", MEMBER_TIME), "w", force_zip64=True)
    header = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)  # type: ignore[no-untyped-call,unused-ignore]
    return file


def _pixels(built: BuiltDataset, split: str, progress: Progress) -> Iterator[Pixels]:
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
