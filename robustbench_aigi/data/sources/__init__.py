"""The forms people hold a labelled dataset in: image folders, Parquet files, WebDataset shards, or
a hub id of them.
"""

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from robustbench_aigi.data.sources.entry import Entry, Refused, Terms, UnfitError
from robustbench_aigi.data.sources.folders import LAYOUTS, fitted, folder_entries, unfitting
from robustbench_aigi.data.sources.metadata import TABLES, described, metadata_entries
from robustbench_aigi.data.sources.parquet import OtherTableError, opened, parquet_entries
from robustbench_aigi.data.sources.splits import SPLITS, Split
from robustbench_aigi.data.sources.survey import SHARD_ENDINGS, Survey
from robustbench_aigi.data.sources.webdataset import tar_entries
from robustbench_aigi.errors import DataError, UnavailableError

__all__ = [
    "LAYOUTS",
    "SPLITS",
    "Entry",
    "Found",
    "Refused",
    "Split",
    "Terms",
    "UnfitError",
    "entries",
    "recognised",
]

Listed = Callable[[], Iterator[Entry | Refused]]
ENDINGS = {kind: ending for ending, kind in SHARD_ENDINGS.items()}


@dataclass(frozen=True)
class Found:
    """How a source is read.

    ``layout`` is a name of :data:`LAYOUTS`, metadata, parquet or webdataset, ``shown`` what it
    looks like, ``why`` what the choice rests on. ``survey`` is None for a single file. ``left`` is
    passed over whole.
    """

    path: Path
    layout: str
    shown: str
    why: str
    listed: Listed
    survey: Survey | None = None
    left: tuple[Refused, ...] = ()


def entries(source: str, terms: Terms, revision: str | None = None) -> Iterator[Entry | Refused]:
    """List the images of a source without opening them, and what is left out unopened.

    Args and Raises: see :func:`recognised`; ``DataError`` also for labels and splits that the
        recipe does not know.
    """
    found = recognised(source, terms, revision)
    yield from found.left
    yield from found.listed()


def recognised(source: str, terms: Terms, revision: str | None = None) -> Found:
    """Say how a source is read: by its class folders, its tables, its Parquet files or its tar
    files, in this order.

    Args:
        source: a folder of class folders or with a table of labels, a Parquet file, a WebDataset
            ``.tar``, a folder of either, or a hub id ``owner/name``.
        terms: the recipe's words. Its layout is found by looking if None.
        revision: of the hub dataset.

    Raises:
        DataError: the path is missing or damaged, or holds no such layout.
        UnavailableError: the hub cannot be reached.
    """
    path = Path(source).expanduser()
    if not path.exists():
        path = _from_hub(source, revision)
    return _of_folder(path, terms) if path.is_dir() else _of_file(path, terms)


def _of_file(path: Path, terms: Terms) -> Found:
    kind = SHARD_ENDINGS.get(path.suffix.lower())
    if terms.layout in ENDINGS and kind != terms.layout:
        raise DataError(
            f"{path} is no {ENDINGS[terms.layout]} file. Give one, or a folder of them."
        )
    if kind is None or terms.layout not in (None, kind):
        raise DataError(
            f"{path} is neither a folder, a Parquet file nor a WebDataset .tar. Unpack an archive"
            " first and give its folder, such as one with train/REAL/*.jpg; of a table or an image"
            " give the folder that it is in."
        )
    if kind == "parquet":
        opened(path)
    return _of_shards(path, kind, [path], terms, None, ())


def _of_folder(path: Path, terms: Terms) -> Found:
    survey = Survey.of(path)
    if terms.layout in ENDINGS:
        if not survey.shards[terms.layout]:
            raise DataError(
                f"{path} holds no {ENDINGS[terms.layout]} file. Give one, or a folder of them."
            )
        return _of_kind(path, terms.layout, survey, terms)
    tables = described(survey.tables, terms) if terms.layout in (None, "metadata") else None
    if tables is not None and tables.good and (survey.images or terms.layout == "metadata"):
        return _of_tables(path, tables.good, survey, terms)
    if terms.layout == "metadata":
        told = "".join(
            f" {table} {fault}." for table, fault in (tables.faults if tables else {}).items()
        )
        raise DataError(
            f"{path} has no {' or '.join(TABLES)} with the columns file_name and label.{told} Write"
            " one, or sort the images into class folders."
        )
    faults = tables.faults if tables else {}
    fit = fitted(path, survey.images, terms) if survey.images else None
    both = fit is not None and set(terms.labels.values()) <= fit.labels
    if terms.layout is None and not both:
        for kind in ENDINGS:
            if _usable(kind, survey):
                return _of_kind(path, kind, survey, terms)
    if fit is None:
        return _of_nothing(path, survey, terms, faults)
    left = [*survey.left, *_beside(path, survey, "class folders")]
    left += [
        Refused(_below(path, table), f"a table that is not used: it {fault}")
        for table, fault in faults.items()
    ]
    listed = functools.partial(folder_entries, path, fit, terms)
    return Found(path, fit.layout, LAYOUTS[fit.layout][0], fit.why, listed, survey, tuple(left))


def _of_nothing(path: Path, survey: Survey, terms: Terms, faults: dict[Path, str]) -> Found:
    """Raise what is wrong with a folder that holds nothing of use, unless all that it holds was
    left out by name.
    """
    if not survey.images and not faults and survey.shards["parquet"]:
        opened(survey.shards["parquet"][0])
    if survey.left and not (survey.images or survey.links or faults):
        return Found(
            path,
            "folder",
            "nothing",
            "all of it is left out",
            lambda: iter(()),
            survey,
            tuple(survey.left),
        )
    fault = unfitting(path, survey, terms)
    tables = "".join(f" The table {table} {reason}." for table, reason in faults.items())
    raise UnfitError(f"{fault}{tables}", fault.folders)


def _usable(kind: str, survey: Survey) -> bool:
    """Whether there are shards of a kind that hold images; damaged ones count, so that they are
    reported.
    """
    if kind == "webdataset":
        return bool(survey.shards[kind])
    return any(_strange(shard) is None for shard in survey.shards[kind])


def _strange(shard: Path) -> str | None:
    """Why a Parquet file is another table, which is passed over; None if it is not."""
    try:
        opened(shard)
    except OtherTableError as reason:
        return str(reason).removeprefix(f"{shard} ")
    except DataError:
        return None
    return None


def _of_kind(path: Path, kind: str, survey: Survey, terms: Terms) -> Found:
    left = [*survey.left, *_beside(path, survey, f"{ENDINGS[kind]} files", kind)]
    shards = []
    for shard in survey.shards[kind]:
        if kind == "parquet" and (reason := _strange(shard)) is not None:
            left.append(Refused(_below(path, shard), f"another table: it {reason}"))
        else:
            shards.append(shard)
    if not shards:
        opened(survey.shards[kind][0])
    return _of_shards(path, kind, shards, terms, survey, tuple(left))


def _of_shards(
    path: Path,
    kind: str,
    shards: list[Path],
    terms: Terms,
    survey: Survey | None,
    left: tuple[Refused, ...],
) -> Found:
    listed = functools.partial(
        parquet_entries if kind == "parquet" else tar_entries, path, shards, terms
    )
    shown = {"parquet": "Parquet files", "webdataset": "WebDataset tar files"}[kind]
    why = f"{len(shards)} {ENDINGS[kind]} file{'s' * (len(shards) > 1)}"
    return Found(path, kind, shown, why, listed, survey, left)


def _of_tables(path: Path, tables: list[Path], survey: Survey, terms: Terms) -> Found:
    why = f"described by {', '.join(_below(path, table) for table in tables)}"
    left = (*survey.left, *_beside(path, survey, "a table of labels"))
    listed = functools.partial(metadata_entries, path, tables, terms)
    return Found(path, "metadata", "images and a table of their labels", why, listed, survey, left)


def _beside(path: Path, survey: Survey, what: str, read: str = "") -> list[Refused]:
    """The shards that are not read, because something else is."""
    reason = f"beside {what}, which are read in its place; to read it, give the file itself"
    return [
        Refused(_below(path, p), reason)
        for kind, found in survey.shards.items()
        if kind != read
        for p in found
    ]


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _from_hub(source: str, revision: str | None) -> Path:
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
        raise DataError(
            f"no file or folder at {source}. Give an existing path, or a hub id such as owner/name."
        )
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted = ["*.parquet", "*.tar"]
    try:
        return Path(
            snapshot_download(source, repo_type="dataset", revision=revision, allow_patterns=wanted)
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ConnectionError) as error:
        raise UnavailableError(
            f"no file or folder at {source}, and the hub has no dataset of that name within reach"
            f" ({type(error).__name__}). Download it elsewhere and give its folder with --source"
            " PATH, or set HF_HOME."
        ) from error
