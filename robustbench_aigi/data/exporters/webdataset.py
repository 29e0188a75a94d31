"""WebDataset: tar shards of pairs ``number.png`` and ``number.json``."""

import functools
import io
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import final

from robustbench_aigi.data.exporters._shards import cut_into_shards
from robustbench_aigi.data.exporters.base import ExportFormat, export_formats
from robustbench_aigi.data.plusplus.jsonl import json_line
from robustbench_aigi.data.plusplus.reader import BuiltDataset, Item
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
                write = functools.partial(_write_shard, items)
                atomic_write(out / f"{split}-{number:06d}.tar", write)
        return {}


def _write_shard(items: Iterator[Item], target: Path) -> None:
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for item in items:
            suffix = PurePosixPath(item.row["path"]).suffix
            _add(archive, f"{item.number:08d}{suffix}", item.content)
            _add(archive, f"{item.number:08d}.json", json_line(item.row).encode())


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
