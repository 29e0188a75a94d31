"""WebDataset: tar shards ``split-000000.tar`` of pairs ``number.png`` and ``number.json``."""

import functools
import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from robustbench_aigi.data.exporters.shards import shards
from robustbench_aigi.data.plusplus.reader import Built, Item, json_line
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.progress import Progress


def write(built: Built, out: Path, progress: Progress, shard_bytes: int) -> dict[str, int]:
    """Write the images with their own bytes, and their manifest rows as JSON. Numbers count within
    the split.
    """
    for split in built.counts():
        for number, items in enumerate(shards(built.items(split, progress), shard_bytes)):
            atomic_write(out / f"{split}-{number:06d}.tar", functools.partial(_shard, items))
    return {}


def _shard(items: Iterator[Item], target: Path) -> None:
    with tarfile.open(target, "w", format=tarfile.USTAR_FORMAT) as archive:
        for item in items:
            for suffix, content in (
                (PurePosixPath(item.row["path"]).suffix, item.content),
                (".json", json_line(item.row).encode()),
            ):
                member = tarfile.TarInfo(f"{item.number:08d}{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
