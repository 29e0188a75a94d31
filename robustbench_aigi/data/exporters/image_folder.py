"""Image folder: ``split/CLASS/attack/number.png`` and a ``metadata.jsonl`` a split. Source: Hugging
Face's ImageFolder.

Files are numbered, because readers look for the split in names too: an image of the validation
split may well be called after the training image it came from.
"""

from pathlib import Path, PurePosixPath

from robustbench_aigi.data.plusplus.reader import (
    CLASSES,
    Built,
    ManifestRow,
    metadata_lines,
    within_split,
    write_lines,
)
from robustbench_aigi.progress import Progress


def write(built: Built, out: Path, progress: Progress, shard_bytes: int) -> dict[str, int]:
    """Write every file with its own bytes; ``shard_bytes`` has no meaning here."""
    for split in built.counts():
        write_lines(out / split / "metadata.jsonl", metadata_lines(built, split, _name))
        for item in built.items(split, progress):
            place = out / split / _name(item.number, item.row)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(item.content)
    return {}


def _name(number: int, row: ManifestRow) -> str:
    within_split(row)
    return (
        f"{CLASSES[row['label']]}/{row['attack']}/{number:08d}{PurePosixPath(row['path']).suffix}"
    )
