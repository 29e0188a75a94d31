"""Kinds of files that hold many images each, and how each kind is read.

A new kind is one more entry of :data:`SHARD_KINDS`.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from robustbench_aigi.data.sources.entry import Entry, Skipped
from robustbench_aigi.data.sources.parquet import parquet_entries
from robustbench_aigi.data.sources.parquet_file import open_parquet, other_table_reason
from robustbench_aigi.data.sources.terms import Terms
from robustbench_aigi.data.sources.webdataset import tar_entries

ListEntries = Callable[[Path, list[Path], Terms], Iterator[Entry | Skipped]]


@dataclass(frozen=True)
class ShardKind:
    """A kind of file that holds many images.

    Attributes:
        ending: of the files' names.
        shown: how messages describe a source of this kind.
        entries: lists the images of some files below a root.
        check: raises ``DataError`` for a file that cannot be read.
        other_table: why a file holds no labelled images; None if it does.
    """

    ending: str
    shown: str
    entries: ListEntries
    check: Callable[[Path], object]
    other_table: Callable[[Path], str | None]


SHARD_KINDS: Mapping[str, ShardKind] = MappingProxyType(
    {
        "parquet": ShardKind(
            ending=".parquet",
            shown="Parquet files",
            entries=parquet_entries,
            check=open_parquet,
            other_table=other_table_reason,
        ),
        "webdataset": ShardKind(
            ending=".tar",
            shown="WebDataset tar files",
            entries=tar_entries,
            check=lambda path: None,
            other_table=lambda path: None,
        ),
    }
)
"""Layout name to the kind; tried in this order."""
KIND_BY_ENDING = {kind.ending: name for name, kind in SHARD_KINDS.items()}
