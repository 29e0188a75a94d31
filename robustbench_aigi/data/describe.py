"""A source described before it is used, so that a wrong guess is seen: how it would be read, and what is in it."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from robustbench_aigi import catalogue
from robustbench_aigi.data.built import is_built, unfinished
from robustbench_aigi.data.drawing import CLASSES, named_labels
from robustbench_aigi.data.images import Header, UnreadableImage, decoded, header
from robustbench_aigi.data.listing import Faults, place_of, rows_of, terms_of
from robustbench_aigi.data.recipes import Recipe, silent
from robustbench_aigi.data.sources import Found, Unfitting, recognised
from robustbench_aigi.data.sources.contents import Contents
from robustbench_aigi.data.suggestions import readers, readers_hint, recipe_named
from robustbench_aigi.errors import BadConfig, BadData

Progress = Callable[[str, int, int], None]
MAX_HEADERS = 2000
"""Images whose headers are read, at most; of more, every so many."""
MAX_DECODED = 2**27
"""Pixels that are decoded, at most, to find what a header does not say."""
EXAMPLES = 3


@dataclass(frozen=True)
class Reason:
    """Why images are left out: the words of the first one, how many there are, and the names of a few."""

    reason: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """What a source holds.

    ``layout``, ``shown`` and ``why``: as in :class:`~robustbench_aigi.data.sources.Found`. ``classes`` has the images
    of each split by class, ``generators`` those of each generator. ``looked_at`` images had their headers read and
    ``decoded`` their pixels too; sizes (width and height), ``formats`` and ``modes`` are of those. ``left_out`` are
    images, ``passed_over`` other files. ``notes`` are what a user should see before the source is used.
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
    """Describe a source; arguments as of :func:`~robustbench_aigi.harness_data.inspect`.

    Raises:
        BadData: no recipe reads it, or it is an unfinished build. UnknownName: there is no such recipe.
    """
    path = Path(source).expanduser()
    if fault := unfinished(path):
        raise BadData(fault)
    if is_built(path):
        return _of_built(path)
    if name is not None:
        recipe = recipe_named(name)
        if recipe.kind == "mini":
            raise BadData(f"the recipe {name} makes its own images. Give one that reads a source, such as folder.")
        try:
            found, rows, faults = _listed(recipe, source)
        except Unfitting as error:
            raise BadData(f"{error}{readers_hint(error.folders, source)}") from error
        return _described(source, recipe, found, rows, faults, (), convert, progress)
    recipe, listing, why = _recipe_for(source)
    return _described(source, recipe, *listing, (why,) if why else (), convert, progress)


Listing = tuple[Found, pd.DataFrame, Faults]


def _listed(recipe: Recipe, source: str) -> Listing:
    found = recognised(source, terms_of(recipe), recipe.revision)
    return found, *rows_of(recipe, found)


def _recipe_for(source: str) -> tuple[Recipe, Listing, str]:
    """The recipe ``folder``, or if it does not read the source the first one that does, with the reason."""
    own = recipe_named("folder")
    try:
        return own, _listed(own, source), ""
    except BadData as error:
        first = error
    folders = first.folders if isinstance(first, Unfitting) else ()
    for name in dict.fromkeys([*readers(folders), *catalogue.names("datasets")]):
        try:
            recipe = catalogue.read("datasets", name, Recipe)
            if recipe.kind == "labelled" and not recipe.shares:
                return (
                    recipe,
                    _listed(recipe, source),
                    f"the recipe folder does not read it, {name} is the first that does",
                )
        except (BadConfig, BadData):  # a recipe of another kind, or one that does not read it either
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
        **_shares(rows),
        looked_at=len(chosen),
        decoded=sum(look[2] is not None for look in looks),
        sizes={
            name: table.loc[area[place], ["width", "height"]].astype(int).tolist() for name, place in places.items()
        },
        distinct_sizes=len(table[["width", "height"]].drop_duplicates()),
        formats=_crossed(good, "format"),
        modes=_crossed(table, "mode"),
        conversions=_counted(table["conversion"]),
        left_out=grouped(faults),
        passed_over=dict(found.survey.others.most_common()) if found.survey else {},
        notes=(*notes, *_notes(found, recipe, rows, good, len(chosen) < len(rows), convert)),
    )


def _looked_at(
    rows: pd.DataFrame, faults: Faults, convert: bool, progress: Progress
) -> Iterator[tuple[int, Header, str | None]]:
    """Label, header and conversion (None if it was not decoded) of what can be read; the rest goes to ``faults``."""
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
        except UnreadableImage as reason:
            faults.append((identity, str(reason)))
            continue
        yield int(label), seen, conversion
    progress("looking at images", len(rows), len(rows))


def grouped(faults: Faults) -> tuple[Reason, ...]:
    """What was left out by its reason, whatever numbers and names are in it, the most frequent one first."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, reason in faults:
        groups.setdefault(re.sub(r"\d+|'[^']*'", "#", reason), []).append((name, reason))
    found = [Reason(own[0][1], len(own), tuple(name for name, _ in own[:EXAMPLES])) for own in groups.values()]
    return tuple(sorted(found, key=lambda one: -one.count))


def _shares(rows: pd.DataFrame) -> dict[str, dict[str, dict[str, int]]]:
    named = rows.assign(**{"class": rows["label"].map(CLASSES)})
    return {"classes": _crossed(named, "split"), "generators": _crossed(named, "generator")}


def _crossed(table: pd.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Images by the values of a column and by class."""
    counts = Counter(zip(table[column].astype(str), table["class"], strict=True))
    return {
        value: {name: counts[value, name] for name in CLASSES.values()} for value in sorted({key for key, _ in counts})
    }


def _counted(values: "pd.Series[str]") -> dict[str, int]:
    return dict(Counter(value for value in values if isinstance(value, str) and value))


def _notes(
    found: Found, recipe: Recipe, rows: pd.DataFrame, good: pd.DataFrame, sampled: bool, convert: bool
) -> Iterator[str]:
    """What a user should see before the source is used."""
    if sampled:
        yield "headers were read of a part of the images; sizes, formats and what is left out are of those"
    if found.layout in ("parquet", "webdataset", "metadata") and recipe.numbers:
        numbers = ", ".join(f"{number} is {CLASSES[label]}" for number, label in recipe.numbers.items())
        yield f"where labels are numbers without names, {numbers}, as the recipe {recipe.name} says"
    said = named_labels(rows, terms_of(recipe))
    if wrong := int((said.notna() & (said != rows["label"])).sum()):
        yield f"{wrong} images are in a folder that is called like the other class"
    if again := int(rows["id"].str.contains(r"~\d+$", regex=True).sum()):
        yield f"{again} images have the name of another one, but for the ending; a number tells them apart"
    if rows["label"].nunique() < 2:
        yield "all images are of one class; an evaluation needs both"
    if len(good) and (wide := int(good["profile"].sum())) and not convert:
        yield f"{wide} images have a colour profile that is not sRGB, which is ignored; --convert applies it"
    for column, word in (("format", "file formats"), ("dimensions", "sizes")):
        table = good.assign(dimensions=good["width"].astype(str) + " x " + good["height"].astype(str))
        if _tells_classes(table, column):
            yield f"the {word} alone tell the classes apart: see `robustbench-aigi audit {recipe.name} --source ...`"


def _tells_classes(table: pd.DataFrame, column: str) -> bool:
    """Whether a value of the column is usual in one class (more than half) and not in the other (less than a tenth)."""
    if table["class"].nunique() < 2:
        return False
    shares = pd.crosstab(table[column].to_numpy(), table["class"].to_numpy(), normalize="columns")
    return bool(((shares.max(axis=1) > 0.5) & (shares.min(axis=1) < 0.1)).any())


def _of_built(path: Path) -> Description:
    rows = pd.read_parquet(path / "manifest.parquet", columns=["label", "split", "generator", "attack"])
    attacks = ", ".join(f"{name} {count}" for name, count in rows["attack"].value_counts(sort=False).items())
    notes = (
        f"by attack: {attacks}",
        "`robustbench-aigi verify`, `audit`, `export` and `train --method static --data` take its path",
    )
    shown = "{split}/{attack}/{class}"
    why = "manifest.parquet and suite.json"
    return Description(str(path), "", "built set", shown, why, len(rows), **_shares(rows), notes=notes)


def overview(rows: pd.DataFrame, recipe: Recipe, source: str | None, faults: Faults) -> Iterator[str]:
    """The lines of a plan: layout, classes by split, generators, and what is left out and why."""
    from robustbench_aigi.data.describe_text import layout_line, shares_lines

    if recipe.kind == "labelled":
        found = recognised(place_of(recipe, source), terms_of(recipe), recipe.revision)
        yield layout_line(str(found.path), recipe.name, found.layout, found.shown, found.why)
    yield from shares_lines(**_shares(rows), left_out=grouped(faults))
