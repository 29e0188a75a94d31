"""A source described before it is used, so that a wrong guess is seen: how it would be read, and
what is in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from robustbench_aigi import catalogue
from robustbench_aigi.data.decoding import Header, ImageError, decoded, header
from robustbench_aigi.data.description.counts import (
    Reason,
    counted,
    crossed,
    grouped,
    notes_on,
    with_class,
)
from robustbench_aigi.data.drawing import CLASSES
from robustbench_aigi.data.listing import Faults, manifest_rows, place_of, terms_of
from robustbench_aigi.data.plusplus.reader import is_built, unfinished
from robustbench_aigi.data.recipes import Recipe
from robustbench_aigi.data.sources import Found, UnfitError, recognised
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.data.suggestions import readers, readers_hint, recipe_named
from robustbench_aigi.errors import ConfigError, DataError
from robustbench_aigi.progress import Progress, silent

MAX_HEADERS = 2000
"""Images whose headers are read, at most; of more, every so many."""
MAX_DECODED = 2**27
"""Pixels that are decoded, at most, to find what a header does not say."""


@dataclass(frozen=True)
class Description:
    """What a source holds.

    ``layout``, ``shown`` and ``why``: as in :class:`~robustbench_aigi.data.sources.Found`.
    ``classes`` has the images of each split by class, ``generators`` those of each generator.
    ``looked_at`` images had their headers read and ``decoded`` their pixels too; sizes (width and
    height), ``formats`` and ``modes`` are of those. ``left_out`` are images, ``passed_over`` other
    files. ``notes`` are what a user should see before the source is used.
    """

    source: str
    recipe: str
    layout: str
    shown: str
    why: str
    images: int
    classes: dict[str, dict[str, int]]
    generators: dict[str, dict[str, int]]
    looked_at: int = 0
    decoded: int = 0
    sizes: dict[str, list[int]] = field(default_factory=dict)
    distinct_sizes: int = 0
    formats: dict[str, dict[str, int]] = field(default_factory=dict)
    modes: dict[str, dict[str, int]] = field(default_factory=dict)
    conversions: dict[str, int] = field(default_factory=dict)
    left_out: tuple[Reason, ...] = ()
    passed_over: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def described(
    source: str, name: str | None = None, *, convert: bool = False, progress: Progress = silent
) -> Description:
    """Describe a source; arguments as of :func:`~robustbench_aigi.pipeline.datasets.inspect`.

    Raises:
        DataError: no recipe reads it, or it is an unfinished build. UnknownNameError: there is no
            such recipe.
    """
    path = Path(source).expanduser()
    if fault := unfinished(path):
        raise DataError(fault)
    if is_built(path):
        return _of_built(path)
    if name is not None:
        recipe = recipe_named(name)
        if recipe.kind == "mini":
            raise DataError(
                f"the recipe {name} makes its own images. Give one that reads a source, such as"
                " folder."
            )
        try:
            found, rows, faults = _listed(recipe, source)
        except UnfitError as error:
            raise DataError(f"{error}{readers_hint(error, source)}") from error
        return _described(source, recipe, found, rows, faults, (), convert, progress)
    recipe, listing, why = _recipe_for(source)
    return _described(source, recipe, *listing, (why,) if why else (), convert, progress)


Listing = tuple[Found, pd.DataFrame, Faults]


def _listed(recipe: Recipe, source: str) -> Listing:
    found = recognised(source, terms_of(recipe), recipe.revision)
    return found, *manifest_rows(recipe, found)


def _recipe_for(source: str) -> tuple[Recipe, Listing, str]:
    """The recipe ``folder``, or if it does not read the source the first one that does, with the
    reason.
    """
    own = recipe_named("folder")
    try:
        return own, _listed(own, source), ""
    except DataError as error:
        first = error
    likely = (
        readers(first.folders, in_table=first.in_table) if isinstance(first, UnfitError) else []
    )
    for name in dict.fromkeys([*likely, *catalogue.names("datasets")]):
        try:
            recipe = catalogue.read("datasets", name, Recipe)
            if recipe.kind == "labelled" and not recipe.shares:
                return (
                    recipe,
                    _listed(recipe, source),
                    f"the recipe folder does not read it, {name} is the first that does",
                )
        except (
            ConfigError,
            DataError,
        ):  # a recipe of another kind, or one that does not read it either
            continue
    raise first


def _described(
    source: str,
    recipe: Recipe,
    found: Found,
    rows: pd.DataFrame,
    faults: Faults,
    notes: tuple[str, ...],
    convert: bool,
    progress: Progress,
) -> Description:
    named = with_class(rows)
    chosen = rows.iloc[:: -(-len(rows) // MAX_HEADERS) or 1]
    looks = list(_looked_at(chosen, faults, convert or recipe.convert, progress))
    table = pd.DataFrame([look[1] for look in looks], columns=list(Header._fields))
    table["class"] = [CLASSES[look[0]] for look in looks]
    table["conversion"] = [look[2] for look in looks]
    area = (table["width"] * table["height"]).sort_values(kind="stable").index
    places = {"smallest": 0, "median": (len(area) - 1) // 2, "largest": -1} if len(area) else {}
    good = table[table["fault"] == ""]
    return Description(
        source=source,
        recipe=recipe.name,
        layout=found.layout,
        shown=found.shown,
        why=found.why,
        images=len(rows),
        classes=crossed(named, "split"),
        generators=crossed(named, "generator"),
        looked_at=len(chosen),
        decoded=sum(look[2] is not None for look in looks),
        sizes={
            name: table.loc[area[place], ["width", "height"]].astype(int).tolist()
            for name, place in places.items()
        },
        distinct_sizes=len(table[["width", "height"]].drop_duplicates()),
        formats=crossed(good, "format"),
        modes=crossed(table, "mode"),
        conversions=counted(table["conversion"]),
        left_out=grouped(faults),
        passed_over=dict(found.survey.others.most_common()) if found.survey else {},
        notes=(*notes, *notes_on(found, recipe, rows, good, len(chosen) < len(rows), convert)),
    )


def _looked_at(
    rows: pd.DataFrame, faults: Faults, convert: bool, progress: Progress
) -> Iterator[tuple[int, Header, str | None]]:
    """Label, header and conversion (None if it was not decoded) of what can be read; the rest goes
    to ``faults``.
    """
    contents, left = Contents(), MAX_DECODED
    columns = (rows[name] for name in ("id", "label", "path", "row"))
    for place, (identity, label, path, row) in enumerate(zip(*columns, strict=True)):
        if place % 100 == 0:
            progress("looking at images", place, len(rows))
        conversion = None
        try:
            content = contents.read(path, row)
            seen = header(content, convert=convert)
            left -= seen.width * seen.height
            if seen.fault:
                faults.append((identity, seen.fault))
            elif left >= 0 or seen.alpha:
                conversion = decoded(content, convert=convert).conversion
        except ImageError as reason:
            faults.append((identity, str(reason)))
            continue
        yield int(label), seen, conversion
    progress("looking at images", len(rows), len(rows))


def _of_built(path: Path) -> Description:
    rows = pd.read_parquet(
        path / "manifest.parquet", columns=["label", "split", "generator", "attack"]
    )
    attacks = ", ".join(
        f"{name} {count}" for name, count in rows["attack"].value_counts(sort=False).items()
    )
    notes = (
        f"by attack: {attacks}",
        (
            "`robustbench-aigi verify`, `audit`, `export` and `train --method static --data` take"
            " its path"
        ),
    )
    shown = "{split}/{attack}/{class}"
    why = "manifest.parquet and suite.json"
    counts = crossed(with_class(rows), "split"), crossed(with_class(rows), "generator")
    return Description(str(path), "", "built set", shown, why, len(rows), *counts, notes=notes)


def overview(
    rows: pd.DataFrame, recipe: Recipe, source: str | None, faults: Faults
) -> Iterator[str]:
    """The lines of a plan: layout, classes by split, generators, and what is left out and why."""
    from robustbench_aigi.data.description.text import layout_line, shares_lines

    if recipe.kind == "labelled":
        found = recognised(place_of(recipe, source), terms_of(recipe), recipe.revision)
        yield layout_line(str(found.path), recipe.name, found.layout, found.shown, found.why)
    named = with_class(rows)
    yield from shares_lines(crossed(named, "split"), crossed(named, "generator"), grouped(faults))
