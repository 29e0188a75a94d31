"""Parquet as Hugging Face writes image datasets: ``data/split-00000-of-00002.parquet``, the bytes
inside.
"""

import functools
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from robustbench_aigi.data.exporters.shards import shards
from robustbench_aigi.data.plusplus.reader import CLASSES, Built, Item, within_split
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.progress import Progress

GROUP = 100
"""Rows in a row group, what is in memory at a time."""
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
NUMPY_NAMES = {"double": "float64", "float": "float32"}


def write(built: Built, out: Path, progress: Progress, shard_bytes: int) -> dict[str, int]:
    """Write the columns ``image``, ``label`` (a class label: REAL, FAKE) and all others of the
    manifest.
    """
    schema = _schema(built.schema)
    for split in built.counts():
        made = []
        for number, items in enumerate(shards(built.items(split, progress), shard_bytes)):
            made.append(out / "data" / f"{split}-{number:05d}.parquet")
            atomic_write(made[-1], functools.partial(_shard, items, schema))
        for place in made:
            place.rename(place.with_stem(f"{place.stem}-of-{len(made):05d}"))
    return {}


def _shard(items: Iterator[Item], schema: pa.Schema, target: Path) -> None:
    with pq.ParquetWriter(target, schema) as writer:
        while group := list(itertools.islice(items, GROUP)):
            rows = [
                {"image": {"bytes": i.content, "path": within_split(i.row)}, **i.row} for i in group
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _schema(manifest: pa.Schema) -> pa.Schema:
    """The image, then the manifest's columns, with the features that Hugging Face reads from the
    metadata.
    """
    plain = [f.with_type(pa.string()) if pa.types.is_large_string(f.type) else f for f in manifest]
    kinds = {f.name: NUMPY_NAMES.get(str(f.type), str(f.type)) for f in plain}
    features: dict[str, object] = {
        name: {"dtype": kind, "_type": "Value"} for name, kind in kinds.items()
    }
    features |= {
        "image": {"_type": "Image"},
        "label": {"names": list(CLASSES), "_type": "ClassLabel"},
    }
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([pa.field("image", IMAGE), *plain], metadata=metadata)
