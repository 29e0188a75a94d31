"""How a source is read: by its class folders, its table of labels, or its shards."""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robustbench_aigi.data.sources.entry import Entry, Skipped, UnfitError
from robustbench_aigi.data.sources.folders import Fit, fit_layout, folder_entries
from robustbench_aigi.data.sources.hub import download_dataset
from robustbench_aigi.data.sources.layouts import ordered_layouts
from robustbench_aigi.data.sources.metadata import metadata_entries, sort_tables
from robustbench_aigi.data.sources.shards import KIND_BY_ENDING, SHARD_KINDS
from robustbench_aigi.data.sources.survey import Survey
from robustbench_aigi.data.sources.terms import Terms
from robustbench_aigi.data.sources.unfitting import describe_unfit, no_table_error
from robustbench_aigi.errors import DataError

METADATA_LAYOUT = "metadata"
"""Name of the layout of images that a table describes."""
Listing = Callable[[], Iterator[Entry | Skipped]]


@dataclass(frozen=True)
class RecognisedSource:
    """How a source is read.

    Attributes:
        path: where it is.
        layout: one of :func:`layout_names`.
        shown: how messages show the layout.
        why: what the choice rests on.
        listing: lists the images, and what is skipped, when called.
        survey: what the folder holds; None for a single file.
        skipped: files that are passed over whole.
    """

    path: Path
    layout: str
    shown: str
    why: str
    listing: Listing
    survey: Survey | None = None
    skipped: tuple[Skipped, ...] = ()

    @property
    def has_label_column(self) -> bool:
        """Whether labels are in a table, not in the names of folders."""
        return self.layout == METADATA_LAYOUT or self.layout in SHARD_KINDS


def layout_names() -> list[str]:
    """Return the names of all layouts that a recipe may ask for."""
    return [*ordered_layouts(), METADATA_LAYOUT, *SHARD_KINDS]


def recognise(source: str, terms: Terms, revision: str | None = None) -> RecognisedSource:
    """Find out how a source is read.

    Tried in this order: a table of labels, class folders, Parquet files, tar files.

    Args:
        source: a folder of class folders or with a table of labels, a Parquet file, a WebDataset
            ``.tar``, a folder of either, or a hub id ``owner/name``.
        terms: the recipe's words; its layout is found by looking if None.
        revision: of the hub dataset.

    Raises:
        DataError: the path is missing or damaged, or holds no such layout.
        UnavailableError: the hub cannot be reached.
    """
    path = Path(source).expanduser()
    if not path.exists():
        path = download_dataset(source, revision)
    return _recognise_folder(path, terms) if path.is_dir() else _recognise_file(path, terms)


def _recognise_file(path: Path, terms: Terms) -> RecognisedSource:
    kind = KIND_BY_ENDING.get(path.suffix.lower())
    wanted = _shard_layout(terms)
    if wanted is not None and kind != wanted:
        ending = SHARD_KINDS[wanted].ending
        raise DataError(f"{path} is no {ending} file. Give one, or a folder of them.")
    if kind is None or terms.layout not in (None, kind):
        raise DataError(
            f"{path} is neither a folder, a Parquet file nor a WebDataset .tar. Unpack an archive"
            " first and give its folder, such as one with train/REAL/*.jpg; of a table or an image"
            " give the folder that it is in."
        )
    SHARD_KINDS[kind].check(path)
    return _from_shards(path, kind, [path], terms)


def _recognise_folder(path: Path, terms: Terms) -> RecognisedSource:
    survey = Survey.of(path)
    wanted = _shard_layout(terms)
    if wanted is not None:
        if not survey.shards[wanted]:
            ending = SHARD_KINDS[wanted].ending
            raise DataError(f"{path} holds no {ending} file. Give one, or a folder of them.")
        return _from_folder_of_shards(path, wanted, survey, terms)
    table_faults: Mapping[Path, str] = {}
    if terms.layout in (None, METADATA_LAYOUT):
        tables = sort_tables(survey.tables, terms)
        table_faults = tables.faults
        if tables.good and (survey.images or terms.layout == METADATA_LAYOUT):
            return _from_tables(path, tables.good, survey, terms)
        if terms.layout == METADATA_LAYOUT:
            raise no_table_error(path, table_faults)
    fit = fit_layout(path, survey.images, terms) if survey.images else None
    if terms.layout is None and not _has_both_classes(fit, terms):
        for kind in SHARD_KINDS:
            if _holds_images(kind, survey):
                return _from_folder_of_shards(path, kind, survey, terms)
    if fit is None:
        return _from_nothing(path, survey, terms, table_faults)
    return _from_class_folders(path, fit, survey, terms, table_faults)


def _shard_layout(terms: Terms) -> str | None:
    """Return the recipe's layout if it is a kind of shard."""
    return terms.layout if terms.layout in SHARD_KINDS else None


def _has_both_classes(fit: Fit | None, terms: Terms) -> bool:
    return fit is not None and set(terms.labels.values()) <= fit.labels


def _holds_images(kind: str, survey: Survey) -> bool:
    """Return whether there are shards of a kind; damaged ones count, so that they are reported."""
    return any(SHARD_KINDS[kind].other_table(shard) is None for shard in survey.shards[kind])


def _from_class_folders(
    path: Path, fit: Fit, survey: Survey, terms: Terms, table_faults: Mapping[Path, str]
) -> RecognisedSource:
    skipped = [*survey.skipped, *_unread_shards(path, survey, "class folders")]
    for table, fault in table_faults.items():
        skipped.append(Skipped(_below(path, table), f"a table that is not used: it {fault}"))
    listing = functools.partial(folder_entries, path, fit, terms)
    layout = fit.layout
    return RecognisedSource(
        path, layout.name, layout.shown, fit.why, listing, survey, tuple(skipped)
    )


def _from_tables(path: Path, tables: list[Path], survey: Survey, terms: Terms) -> RecognisedSource:
    why = f"described by {', '.join(_below(path, table) for table in tables)}"
    skipped = (*survey.skipped, *_unread_shards(path, survey, "a table of labels"))
    listing = functools.partial(metadata_entries, path, tables, terms)
    shown = "images and a table of their labels"
    return RecognisedSource(path, METADATA_LAYOUT, shown, why, listing, survey, skipped)


def _from_folder_of_shards(path: Path, kind: str, survey: Survey, terms: Terms) -> RecognisedSource:
    what = f"{SHARD_KINDS[kind].ending} files"
    skipped = [*survey.skipped, *_unread_shards(path, survey, what, read=kind)]
    shards = []
    for shard in survey.shards[kind]:
        reason = SHARD_KINDS[kind].other_table(shard)
        if reason is None:
            shards.append(shard)
        else:
            skipped.append(Skipped(_below(path, shard), f"another table: it {reason}"))
    if not shards:
        SHARD_KINDS[kind].check(survey.shards[kind][0])
    return _from_shards(path, kind, shards, terms, survey, tuple(skipped))


def _from_shards(
    path: Path,
    kind: str,
    shards: list[Path],
    terms: Terms,
    survey: Survey | None = None,
    skipped: tuple[Skipped, ...] = (),
) -> RecognisedSource:
    shard_kind = SHARD_KINDS[kind]
    listing = functools.partial(shard_kind.entries, path, shards, terms)
    why = f"{len(shards)} {shard_kind.ending} file{'s' * (len(shards) > 1)}"
    return RecognisedSource(path, kind, shard_kind.shown, why, listing, survey, skipped)


def _from_nothing(
    path: Path, survey: Survey, terms: Terms, table_faults: Mapping[Path, str]
) -> RecognisedSource:
    """Raise what is wrong with a folder, unless all that it holds is skipped by name."""
    if not survey.images and not table_faults:
        for kind in SHARD_KINDS:
            if survey.shards[kind]:
                SHARD_KINDS[kind].check(survey.shards[kind][0])
    if survey.skipped and not (survey.images or survey.links or table_faults):
        general = next(name for name, one in ordered_layouts().items() if one.is_general)
        return RecognisedSource(
            path,
            general,
            "nothing",
            "all of it is left out",
            lambda: iter(()),
            survey,
            tuple(survey.skipped),
        )
    tables = "".join(f" The table {table} {fault}." for table, fault in table_faults.items())
    raise UnfitError(f"{describe_unfit(path, survey, terms)}{tables}", sorted(survey.images))


def _unread_shards(
    path: Path, survey: Survey, what: str, read: str | None = None
) -> Sequence[Skipped]:
    """Return the shards that are not read, because something else is."""
    reason = f"beside {what}, which are read instead; to read it, give the file itself"
    return [
        Skipped(_below(path, shard), reason)
        for kind, shards in survey.shards.items()
        if kind != read
        for shard in shards
    ]


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
