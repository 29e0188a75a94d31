"""Image folders as Hugging Face's ImageFolder reads them.

Files are numbered, because readers look for the split in names too: an image of the validation
split may be called after the training image it came from.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import final

from robustbench_aigi.data.exporters.base import ExportFormat, export_formats
from robustbench_aigi.data.plusplus.jsonl import METADATA_FILE, metadata_lines, write_lines
from robustbench_aigi.data.plusplus.reader import (
    CLASS_FOLDERS,
    BuiltDataset,
    Record,
    within_split,
)
from robustbench_aigi.progress import Progress


@export_formats.add("imagefolder")
@final
class ImageFolder(ExportFormat):
    """Files ``split/CLASS/attack/number.png``, and a ``metadata.jsonl`` per split."""

    def write(
        self, built: BuiltDataset, out: Path, progress: Progress, shard_bytes: int
    ) -> Mapping[str, int]:
        """Write every file with its own bytes; ``shard_bytes`` has no meaning here."""
        for split in built.counts():
            write_lines(out / split / METADATA_FILE, metadata_lines(built, split, _name))
            for item in built.items(split, progress):
                place = out / split / _name(item.number, item.row)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(item.content)
        return {}


def _name(number: int, row: Record) -> str:
    within_split(row)
    suffix = PurePosixPath(row["path"]).suffix
    return f"{CLASS_FOLDERS[row['label']]}/{row['attack']}/{number:08d}{suffix}"
