"""WebDataset: tar shards of pairs ``number.png`` and ``number.json``."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import final

from robustbench_aigi.data.exporters._shards import cut_into_shards
from robustbench_aigi.data.exporters.base import ExportFormat, export_formats
from robustbench_aigi.data.plusplus.archives import write_tar
from robustbench_aigi.data.plusplus.reader import BuiltDataset
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.progress import Progress


@export_formats.add("webdataset")
@final
class WebDataset(ExportFormat):
    """Tar files ``split-000000.tar`` of pairs ``number.png`` and ``number.json``."""

    def write(
        self, built: BuiltDataset, out: Path, progress: Progress, shard_bytes: int
    ) -> Mapping[str, int]:
        """Write the images with their own bytes, and their rows as JSON, numbered per split."""
        for split in built.counts():
            shards = cut_into_shards(built.items(split, progress), shard_bytes)
            for number, items in enumerate(shards):
                write = functools.partial(write_tar, items, built.schema)
                atomic_write(out / f"{split}-{number:06d}.tar", write)
        return {}
