"""How a shard of images is stored: its table, and files or an archive that hold the images."""

import functools
import tempfile
from abc import ABC, abstractmethod
from pathlib import Path
from typing import NamedTuple, final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.plusplus.archives import ARCHIVE_KINDS, items_of
from robustbench_aigi.data.plusplus.image_files import write_files
from robustbench_aigi.errors import UnknownNameError
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.io.hashing import digest

DISK_BLOCK = 4096
"""Bytes that a file takes a multiple of, on most disks."""
NAME_KEY = b"archive"
SIZE_KEY = b"archive_bytes"
"""Keys of a table's metadata with the name and size of its archive."""


class MadeShard(NamedTuple):
    """What was made of a shard: rows of the manifest, and the image file of each."""

    table: pd.DataFrame
    files: list[bytes]


class Storage(ABC):
    """A way to store shards."""

    @abstractmethod
    def shard_key(self, key: str) -> str:
        """Return the key of shards that are stored in this way, from that of their images."""

    @abstractmethod
    def write(self, made: MadeShard, out: Path, place: Path) -> None:
        """Write a shard; its table comes last, so that a shard with a table is whole.

        Args:
            made: the shard.
            out: folder of the set.
            place: of the table, relative to it.
        """

    @abstractmethod
    def is_whole(self, out: Path, place: Path) -> bool:
        """Return whether a shard is there."""

    @abstractmethod
    def bytes_on_disk(self, made: MadeShard, images: int, shards: int) -> float:
        """Estimate what images like those of a shard take.

        Args:
            made: a few images.
            images: how many there will be.
            shards: how many shards they are in.
        """


@final
class ImageFiles(Storage):
    """One file per image."""

    def shard_key(self, key: str) -> str:
        """Return the key itself."""
        return key

    def write(self, made: MadeShard, out: Path, place: Path) -> None:
        """Write the image files, then the table."""
        write_files(out, [Path(path) for path in made.table["path"]], made.files)
        atomic_write(out / place, functools.partial(made.table.to_parquet, index=False))

    def is_whole(self, out: Path, place: Path) -> bool:
        """Return whether the table is there."""
        return (out / place).is_file()

    def bytes_on_disk(self, made: MadeShard, images: int, shards: int) -> float:
        """Count whole blocks of the disk."""
        blocks = sum(-(-len(content) // DISK_BLOCK) for content in made.files)
        return blocks * DISK_BLOCK * images / len(made.files)


@final
class Archives(Storage):
    """One archive per shard.

    Args:
        kind: in :data:`~robustbench_aigi.data.plusplus.archives.ARCHIVE_KINDS`.

    Raises:
        UnknownNameError: there is no such kind.
    """

    def __init__(self, kind: str) -> None:
        if kind not in ARCHIVE_KINDS:
            raise UnknownNameError(
                f"no kind of shards called {kind!r}. Write --shards {' or '.join(ARCHIVE_KINDS)},"
                " or leave it out for one file per image."
            )
        self.name = kind
        self.kind = ARCHIVE_KINDS[kind]

    def shard_key(self, key: str) -> str:
        """Return a key of this kind's own, so that a set is not of several kinds."""
        return digest(key, self.name)

    def write(self, made: MadeShard, out: Path, place: Path) -> None:
        """Write the archive, then the table with the columns ``archive`` and ``row``."""
        archive = self._archive(made.table, place)
        rows: list[int] = []
        atomic_write(out / archive, lambda temporary: rows.extend(self._write(made, temporary)))
        frame = made.table.assign(archive=archive.as_posix(), row=np.array(rows))
        table = pa.Table.from_pandas(frame, preserve_index=False)
        size = str((out / archive).stat().st_size)
        metadata = {**table.schema.metadata, NAME_KEY: archive.as_posix(), SIZE_KEY: size}
        table = table.replace_schema_metadata(metadata)
        atomic_write(out / place, functools.partial(pq.write_table, table))

    def is_whole(self, out: Path, place: Path) -> bool:
        """Return whether table and archive are there, and the archive has its size."""
        try:
            metadata = pq.read_schema(out / place).metadata or {}
            size = (out / metadata[NAME_KEY].decode()).stat().st_size
        except (OSError, KeyError, pa.ArrowException):
            return False
        return metadata.get(SIZE_KEY) == str(size).encode()

    def bytes_on_disk(self, made: MadeShard, images: int, shards: int) -> float:
        """Measure two small archives, of one image and of all, and extrapolate."""
        count = len(made.files)
        one = MadeShard(made.table.head(1), made.files[:1])
        first, whole = (self._size(some) - sum(map(len, some.files)) for some in (one, made))
        per_image = (whole - first) / (count - 1) if count > 1 else first
        content = sum(map(len, made.files)) / count
        return images * (content + per_image) + shards * (first - per_image)

    def _archive(self, table: pd.DataFrame, place: Path) -> Path:
        split = str(table["split"].iloc[0])
        return Path(split) / f"{place.stem.removeprefix(f'{split}-')}{self.kind.ending}"

    def _write(self, made: MadeShard, target: Path) -> list[int]:
        table = pa.Table.from_pandas(made.table, preserve_index=False)
        schema = table.schema.remove_metadata()
        return self.kind.write(items_of(table, made.files), schema, target)

    def _size(self, made: MadeShard) -> int:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "archive"
            self._write(made, path)
            return path.stat().st_size


IMAGE_FILES = ImageFiles()


def load_storage(shards: str | None) -> Storage:
    """Return the storage of image files for None, else that of archives of a kind.

    Args:
        shards: name of the kind.

    Raises:
        UnknownNameError: there is no such kind.
    """
    return IMAGE_FILES if shards is None else Archives(shards)
