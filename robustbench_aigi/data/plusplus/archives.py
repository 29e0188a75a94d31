"""Archives that hold the images of one shard each: Parquet files and tar files."""

import functools
import io
import itertools
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.plusplus.jsonl import json_line
from robustbench_aigi.data.plusplus.reader import CLASS_FOLDERS, Item, within_split
from robustbench_aigi.data.sources.shards import SHARD_KINDS

GROUP_ROWS = 100
"""Rows per row group, and in memory at a time."""
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NUMPY_NAMES = {"double": "float64", "float": "float32"}
"""Arrow's names of types to those that Hugging Face writes."""


def write_parquet(items: Iterable[Item], manifest: pa.Schema, target: Path) -> list[int]:
    """Write images and their rows as Hugging Face does, and return the row of each image.

    Args:
        items: the images.
        manifest: types of their rows.
        target: the file.
    """
    schema = _image_schema(manifest)
    stream = iter(items)
    count = 0
    with pq.ParquetWriter(target, schema) as writer:
        while group := list(itertools.islice(stream, GROUP_ROWS)):
            rows = [
                {"image": {"bytes": item.content, "path": within_split(item.row)}, **item.row}
                for item in group
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))
            count += len(rows)
    return list(range(count))


def write_tar(items: Iterable[Item], manifest: pa.Schema, target: Path) -> list[int]:
    """Write pairs ``number.png`` and ``number.json``, and return where each image begins, in bytes.

    Args:
        items: the images.
        manifest: types of their rows, which JSON does not hold.
        target: the file.
    """
    positions = []
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for item in items:
            suffix = PurePosixPath(item.row["path"]).suffix
            positions.append(archive.offset + tarfile.BLOCKSIZE)
            _add(archive, f"{item.number:08d}{suffix}", item.content)
            _add(archive, f"{item.number:08d}.json", json_line(item.row).encode())
    return positions


@dataclass(frozen=True)
class ArchiveKind:
    """A kind of archive.

    Attributes:
        ending: of the files' names.
        write: writes images and their rows to a file, and returns where in it each image is.
    """

    ending: str
    write: Callable[[Iterable[Item], pa.Schema, Path], list[int]]


ARCHIVE_KINDS: Mapping[str, ArchiveKind] = MappingProxyType(
    {
        name: ArchiveKind(SHARD_KINDS[name].ending, write)
        for name, write in {"parquet": write_parquet, "webdataset": write_tar}.items()
    }
)
"""Name to the kind, as a build takes it."""


def items_of(table: pa.Table, files: Sequence[bytes]) -> Iterator[Item]:
    """Yield the images of a shard, numbered from 0.

    Args:
        table: rows of the manifest.
        files: the image files.
    """
    for number, (row, content) in enumerate(zip(table.to_pylist(), files, strict=True)):
        yield Item(number, row, content)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


@functools.lru_cache(maxsize=8)
def _image_schema(manifest: pa.Schema) -> pa.Schema:
    """Return the image, then the manifest's columns, with Hugging Face's features as metadata."""
    plain = [
        field.with_type(pa.string()) if pa.types.is_large_string(field.type) else field
        for field in manifest
    ]
    features: dict[str, object] = {}
    for field in plain:
        dtype = NUMPY_NAMES.get(str(field.type), str(field.type))
        features[field.name] = {"dtype": dtype, "_type": "Value"}
    features["image"] = {"_type": "Image"}
    features["label"] = {"names": list(CLASS_FOLDERS), "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([pa.field("image", IMAGE_TYPE), *plain], metadata=metadata)
