"""A source described before it is used, so that a wrong guess is seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robustbench_aigi import catalogue
from robustbench_aigi.data.description.counts import (
    count_by_class,
    count_texts,
    group_reasons,
    with_class,
)
from robustbench_aigi.data.description.headers import look_at, sample_rows, size_examples, to_table
from robustbench_aigi.data.description.notes import header_notes, listing_notes
from robustbench_aigi.data.description.result import Description
from robustbench_aigi.data.description.text import layout_line, shares_lines
from robustbench_aigi.data.listing import manifest_rows
from robustbench_aigi.data.plusplus.reader import describe_unfinished, is_built
from robustbench_aigi.data.recipes import (
    DatasetRecipe,
    LabelledRecipe,
    MiniRecipe,
    read_recipe,
)
from robustbench_aigi.data.sources.entry import Skipped, UnfitError
from robustbench_aigi.data.sources.recognise import RecognisedSource, recognise
from robustbench_aigi.data.suggestions import (
    FALLBACK_RECIPE,
    fitting_recipes,
    load_recipe,
    recipe_hint,
)
from robustbench_aigi.errors import ConfigError, DataError
from robustbench_aigi.progress import Progress, silent


@dataclass(frozen=True)
class _Listing:
    """A source, listed by a recipe.

    Attributes:
        recipe: how it is read.
        found: what it is.
        rows: its manifest.
        skipped: what is left out.
        note: why this recipe was chosen; None if it was given or expected.
    """

    recipe: LabelledRecipe
    found: RecognisedSource
    rows: pd.DataFrame
    skipped: list[Skipped]
    note: str | None = None


def describe_source(
    source: str, name: str | None = None, *, convert: bool = False, progress: Progress = silent
) -> Description:
    """Describe a source.

    Args:
        source: a path, a hub id, or the folder of a built set.
        name: the recipe to read it by; if None ``folder``, or the first one that reads it.
        convert: as in :func:`~robustbench_aigi.data.loading.load_data`.
        progress: called while headers are read.

    Raises:
        DataError: no recipe reads it, or it is an unfinished build.
        UnknownNameError: there is no such recipe.
    """
    path = Path(source).expanduser()
    unfinished = describe_unfinished(path)
    if unfinished is not None:
        raise DataError(unfinished)
    if is_built(path):
        return _describe_built(path)
    listing = _list_by_any(source) if name is None else _list_by_name(source, name)
    return _describe_listing(source, listing, convert, progress)


def overview(
    rows: pd.DataFrame, recipe: DatasetRecipe, source: str | None, skipped: Sequence[Skipped]
) -> Iterator[str]:
    """Yield the lines of a plan: layout, classes by split, generators, and what is left out.

    Args:
        rows: a manifest.
        recipe: of the dataset.
        source: what the user gave.
        skipped: what is left out.
    """
    if isinstance(recipe, LabelledRecipe):
        found = recognise(recipe.place(source), recipe.terms, recipe.revision)
        yield layout_line(str(found.path), recipe.name, found.layout, found.shown, found.why)
    named = with_class(rows)
    yield from shares_lines(
        count_by_class(named, "split"), count_by_class(named, "generator"), group_reasons(skipped)
    )


def _list_by(source: str, recipe: LabelledRecipe, note: str | None = None) -> _Listing:
    found = recognise(source, recipe.terms, recipe.revision)
    rows, skipped = manifest_rows(recipe, found)
    return _Listing(recipe, found, rows, skipped, note)


def _list_by_name(source: str, name: str) -> _Listing:
    recipe = load_recipe(name)
    if isinstance(recipe, MiniRecipe):
        raise DataError(
            f"the recipe {name} makes its own images. Give one that reads a source, such as folder."
        )
    try:
        return _list_by(source, recipe)
    except UnfitError as error:
        raise DataError(f"{error}{recipe_hint(error, source)}") from error


def _list_by_any(source: str) -> _Listing:
    """List a source by the recipe ``folder``, or else by the first one that reads it."""
    general = load_recipe(FALLBACK_RECIPE)
    if not isinstance(general, LabelledRecipe):
        raise ConfigError(f"the recipe {FALLBACK_RECIPE} must be of the kind labelled")
    try:
        return _list_by(source, general)
    except DataError as error:
        first = error
    likely: list[str] = []
    if isinstance(first, UnfitError):
        likely = fitting_recipes(first.folders, in_table=first.in_table)
    for name in dict.fromkeys([*likely, *catalogue.names("datasets")]):
        note = f"the recipe {FALLBACK_RECIPE} does not read it, {name} is the first that does"
        try:
            recipe = read_recipe(name)
            if isinstance(recipe, LabelledRecipe) and not recipe.shares:
                return _list_by(source, recipe, note)
        except (ConfigError, DataError):  # a recipe that does not read it either
            continue
    raise first


def _describe_listing(
    source: str, listing: _Listing, convert: bool, progress: Progress
) -> Description:
    found = listing.found
    rows = listing.rows
    convert_all = convert or listing.recipe.convert
    chosen = sample_rows(rows)
    looks = list(look_at(chosen, listing.skipped, progress, convert=convert_all))
    table = to_table(looks)
    named = with_class(rows)
    good = table[table["fault"].isna()]
    notes = [] if listing.note is None else [listing.note]
    if len(chosen) < len(rows):
        notes.append(
            "headers were read of a part of the images; sizes, formats and what is left out are of"
            " those"
        )
    notes += listing_notes(found, listing.recipe, rows)
    notes += header_notes(good, listing.recipe.name, convert=convert)
    return Description(
        source=source,
        recipe=listing.recipe.name,
        layout=found.layout,
        shown=found.shown,
        why=found.why,
        images=len(rows),
        classes=count_by_class(named, "split"),
        generators=count_by_class(named, "generator"),
        looked_at=len(chosen),
        decoded=sum(look.conversion is not None for look in looks),
        sizes=size_examples(table),
        distinct_sizes=len(table[["width", "height"]].drop_duplicates()),
        formats=count_by_class(good, "format"),
        modes=count_by_class(table, "mode"),
        conversions=count_texts(table["conversion"]),
        left_out=group_reasons(listing.skipped),
        passed_over=dict(found.survey.others.most_common()) if found.survey else {},
        notes=tuple(notes),
    )


def _describe_built(path: Path) -> Description:
    rows = pd.read_parquet(
        path / "manifest.parquet", columns=["label", "split", "generator", "attack"]
    )
    counts = rows["attack"].value_counts(sort=False).items()
    attacks = ", ".join(f"{name} {count}" for name, count in counts)
    commands = "`robustbench-aigi verify`, `audit`, `export` and `train --method static --data`"
    named = with_class(rows)
    return Description(
        source=str(path),
        recipe="",
        layout="built set",
        shown="{split}/{attack}/{class}",
        why="manifest.parquet and suite.json",
        images=len(rows),
        classes=count_by_class(named, "split"),
        generators=count_by_class(named, "generator"),
        notes=(f"by attack: {attacks}", f"{commands} take its path"),
    )
