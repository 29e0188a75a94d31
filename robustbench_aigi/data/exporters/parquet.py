"""Parquet as Hugging Face writes image datasets."""

import functools
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import final

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.exporters._shards import cut_into_shards
from robustbench_aigi.data.exporters.base import ExportFormat, export_formats
from robustbench_aigi.data.plusplus.reader import CLASS_FOLDERS, BuiltDataset, Item, within_split
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.progress import Progress

GROUP_ROWS = 100
"""Rows per row group, and in memory at a time."""
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NUMPY_NAMES = {"double": "float64", "float": "float32"}
"""Arrow's names of types to those that Hugging Face writes."""


@export_formats.add("parquet")
@final
class Parquet(ExportFormat):
    """Files ``data/split-00000-of-00002.parquet``, with the bytes of the images in them."""

    def write(
        self, built: BuiltDataset, out: Path, progress: Progress, shard_bytes: int
    ) -> Mapping[str, int]:
        """Write ``image``, ``label`` (classes REAL, FAKE) and the manifest's other columns."""
        schema = _schema(built.schema)
        for split in built.counts():
            written = []
            shards = cut_into_shards(built.items(split, progress), shard_bytes)
            for number, items in enumerate(shards):
                path = out / "data" / f"{split}-{number:05d}.parquet"
                atomic_write(path, functools.partial(_write_shard, items, schema))
                written.append(path)
            for path in written:
                path.rename(path.with_stem(f"{path.stem}-of-{len(written):05d}"))
        return {}


def _write_shard(items: Iterator[Item], schema: pa.Schema, target: Path) -> None:
    with pq.ParquetWriter(target, schema) as writer:
        while group := list(itertools.islice(items, GROUP_ROWS)):
            rows = [
                {"image": {"bytes": item.content, "path": within_split(item.row)}, **item.row}
                for item in group
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _schema(manifest: pa.Schema) -> pa.Schema:
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
