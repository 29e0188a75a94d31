"""Parquet as Hugging Face writes image datasets."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import final

from robustbench_aigi.data.exporters._shards import cut_into_shards
from robustbench_aigi.data.exporters.base import ExportFormat, export_formats
from robustbench_aigi.data.plusplus.archives import write_parquet
from robustbench_aigi.data.plusplus.reader import BuiltDataset
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.progress import Progress


@export_formats.add("parquet")
@final
class Parquet(ExportFormat):
    """Files ``data/split-00000-of-00002.parquet``, with the bytes of the images in them."""

    def write(
        self, built: BuiltDataset, out: Path, progress: Progress, shard_bytes: int
    ) -> Mapping[str, int]:
        """Write ``image``, ``label`` (classes REAL, FAKE) and the manifest's other columns."""
        schema = built.schema
        for split in built.counts():
            written = []
            shards = cut_into_shards(built.items(split, progress), shard_bytes)
            for number, items in enumerate(shards):
                path = out / "data" / f"{split}-{number:05d}.parquet"
                atomic_write(path, functools.partial(write_parquet, items, schema))
                written.append(path)
            for path in written:
                path.rename(path.with_stem(f"{path.stem}-of-{len(written):05d}"))
        return {}
