"""Exports: a built `++` set in the forms that other tools read."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol

from robustbench_aigi.data.exporters import image_folder, npz, parquet, raid, webdataset
from robustbench_aigi.data.plusplus.reader import Built, write_jsonl
from robustbench_aigi.errors import DataError, UnknownNameError
from robustbench_aigi.io.files import describe_write_errors, write_text
from robustbench_aigi.io.hashing import file_digest
from robustbench_aigi.progress import Progress, silent

__all__ = ["FORMS", "Built", "Exported", "export", "write_jsonl"]

DONE = ".export.json"
SHARD_BYTES = 2**28


class ExportFormat(Protocol):
    """Writes a set into an empty folder; returns the images of each attack that the form has no
    place for.
    """

    def __call__(
        self, built: Built, out: Path, progress: Progress, shard_bytes: int
    ) -> dict[str, int]: ...


FORMS: Mapping[str, ExportFormat] = MappingProxyType(
    {
        "imagefolder": image_folder.write,
        "parquet": parquet.write,
        "webdataset": webdataset.write,
        "raid": raid.write,
        "npz": npz.write,
    }
)


class Exported(NamedTuple):
    """How many images were written, and how many of which attacks the form has no place for."""

    images: int
    left_out: dict[str, int]


def export(
    built: Path,
    form: str,
    out: Path,
    progress: Progress = silent,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> Exported:
    """Write a built set to the folder ``out`` in another form; the same set gives the same bytes.

    ``out`` appears when all is written: after a kill repeat the call, and it begins anew. A call
    that finds its own finished result does nothing.

    Args:
        built: the folder that ``build`` wrote.
        form: one of :data:`FORMS`.
        out: a folder that is empty or not there yet.
        shard_bytes: about how many bytes of images go into one file, for Parquet and WebDataset.

    Raises:
        UnknownNameError: no such form.
        DataError: ``built`` is no whole set, ``out`` holds something else, or the form cannot hold
            the set.
        WriteError: the disk is full, or ``out`` cannot be written to.
    """
    if form not in FORMS:
        raise UnknownNameError(f"no form called {form!r}. Write one of {', '.join(FORMS)}.")
    the_set = Built(built)
    total = len(the_set)
    if out.resolve().is_relative_to(the_set.root):
        raise DataError(f"{out} is inside the set itself. Give a folder elsewhere with --out.")
    asked = {"form": form, "manifest": file_digest(the_set.manifest), "shard_bytes": shard_bytes}
    if (finished := _finished(out, asked)) is not None:
        return finished
    with describe_write_errors(out), _appearing(out) as folder:
        left_out = FORMS[form](the_set, folder, progress, shard_bytes)
        result = Exported(total - sum(left_out.values()), left_out)
        if (built / "README.md").is_file():
            shutil.copyfile(built / "README.md", folder / "CARD.md")
        write_text(folder / DONE, json.dumps(asked | result._asdict(), indent=2))
    return result


def _finished(out: Path, asked: dict[str, object]) -> Exported | None:
    """What an earlier call wrote to ``out``; None if there is nothing. Raises ``DataError`` for
    anything else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return None
    if (out / DONE).is_file():
        found = json.loads((out / DONE).read_text(encoding="utf-8"))
        if {name: found.get(name) for name in asked} == asked:
            return Exported(found["images"], found["left_out"])
    raise DataError(
        f"{out} is not empty and holds another thing than this export. Give another folder with"
        " --out."
    )


@contextmanager
def _appearing(out: Path) -> Iterator[Path]:
    """An empty folder beside ``out`` that takes its name when the block ends well, and goes when it
    does not.
    """
    target = out.resolve()
    building = target.with_name(f".{target.name}.exporting")
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    try:
        yield building
        building.replace(target)
    finally:
        shutil.rmtree(building, ignore_errors=True)
