"""The one call that exports a built set."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from robustbench_aigi.data.exporters.base import export_formats
from robustbench_aigi.data.plusplus.reader import BuiltDataset
from robustbench_aigi.errors import DataError
from robustbench_aigi.io.files import describe_write_errors, write_text
from robustbench_aigi.io.hashing import file_digest
from robustbench_aigi.progress import Progress, silent

DONE_FILE = ".export.json"
"""File that says what a finished export holds."""
SHARD_BYTES = 2**28


class Exported(NamedTuple):
    """What was written.

    Attributes:
        images: their number.
        left_out: images of each attack that the format has no place for.
    """

    images: int
    left_out: Mapping[str, int]


def export(
    built: Path,
    form: str,
    out: Path,
    progress: Progress = silent,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> Exported:
    """Write a built set in another format; the same set gives the same bytes.

    ``out`` appears when all is written: repeat a killed call, and it starts again. A call that
    finds its own finished result does nothing.

    Args:
        built: the folder that ``build`` wrote.
        form: a name in :data:`~robustbench_aigi.data.exporters.export_formats`.
        out: a folder that is empty or not there yet.
        progress: called while images are read.
        shard_bytes: about how many bytes of images go into one file, for Parquet and WebDataset.

    Raises:
        UnknownNameError: no such format.
        DataError: ``built`` is no whole set, ``out`` holds something else, or the format cannot
            hold the set.
        WriteError: the disk is full, or ``out`` cannot be written to.
    """
    export_format = export_formats.get(form)()
    the_set = BuiltDataset(built)
    total = len(the_set)
    if out.resolve().is_relative_to(the_set.root):
        raise DataError(f"{out} is inside the set itself. Give a folder elsewhere with --out.")
    request = {"form": form, "manifest": file_digest(the_set.manifest), "shard_bytes": shard_bytes}
    finished = _find_finished(out, request)
    if finished is not None:
        return finished
    with describe_write_errors(out), _appearing(out) as folder:
        left_out = dict(export_format.write(the_set, folder, progress, shard_bytes))
        result = Exported(total - sum(left_out.values()), left_out)
        if (built / "README.md").is_file():
            shutil.copyfile(built / "README.md", folder / "CARD.md")
        write_text(folder / DONE_FILE, json.dumps(request | result._asdict(), indent=2))
    return result


def _find_finished(out: Path, request: dict[str, object]) -> Exported | None:
    """Return what an earlier call wrote; None if ``out`` is empty; else raise ``DataError``."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if (out / DONE_FILE).is_file():
        found = json.loads((out / DONE_FILE).read_text(encoding="utf-8"))
        if {name: found.get(name) for name in request} == request:
            return Exported(found["images"], found["left_out"])
    raise DataError(
        f"{out} is not empty and holds another thing than this export. Give another folder with"
        " --out."
    )


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes ``out`` if the block succeeds, and is removed if not."""
    target = out.resolve()
    building = target.with_name(f".{target.name}.exporting")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        yield building
        building.replace(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
