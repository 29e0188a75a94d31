"""What a description counts: classes by a column, reasons, and what a user should be told."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from robustbench_aigi.data.drawing import CLASSES, named_labels
from robustbench_aigi.data.listing import Faults, terms_of
from robustbench_aigi.data.recipes import Recipe
from robustbench_aigi.data.sources import Found

EXAMPLES = 3
"""Names that are shown of each reason."""


@dataclass(frozen=True)
class Reason:
    """Why images are left out: the words of the first one, how many there are, and the names of a
    few.
    """

    reason: str
    count: int
    examples: tuple[str, ...]


def grouped(faults: Faults) -> tuple[Reason, ...]:
    """What was left out by its reason, whatever numbers and names are in it, the most frequent one
    first.
    """
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, reason in faults:
        groups.setdefault(re.sub(r"\d+|'[^']*'", "#", reason), []).append((name, reason))
    found = [
        Reason(own[0][1], len(own), tuple(name for name, _ in own[:EXAMPLES]))
        for own in groups.values()
    ]
    return tuple(sorted(found, key=lambda one: -one.count))


def with_class(rows: pd.DataFrame) -> pd.DataFrame:
    """Manifest rows with the name of each one's class."""
    return rows.assign(**{"class": rows["label"].map(CLASSES)})


def crossed(table: pd.DataFrame, column: str) -> dict[str, dict[str, int]]:
    """Images by the values of a column and by class."""
    counts = Counter(zip(table[column].astype(str), table["class"], strict=True))
    return {
        value: {name: counts[value, name] for name in CLASSES.values()}
        for value in sorted({key for key, _ in counts})
    }


def counted(values: "pd.Series[str]") -> dict[str, int]:
    """How often each text is there that is not empty."""
    return dict(Counter(value for value in values if isinstance(value, str) and value))


def notes_on(
    found: Found,
    recipe: Recipe,
    rows: pd.DataFrame,
    good: pd.DataFrame,
    sampled: bool,
    convert: bool,
) -> Iterator[str]:
    """What a user should see before the source is used."""
    if sampled:
        yield (
            "headers were read of a part of the images; sizes, formats and what is left out are of"
            " those"
        )
    if found.layout in ("parquet", "webdataset", "metadata") and recipe.numbers:
        numbers = ", ".join(
            f"{number} is {CLASSES[label]}" for number, label in recipe.numbers.items()
        )
        yield f"where labels are numbers without names, {numbers}, as the recipe {recipe.name} says"
    said = named_labels(rows, terms_of(recipe))
    if wrong := int((said.notna() & (said != rows["label"])).sum()):
        yield f"{wrong} images are in a folder that is called like the other class"
    if again := int(rows["id"].str.contains(r"~\d+$", regex=True).sum()):
        yield (
            f"{again} images have the name of another one, but for the ending; a number tells them"
            " apart"
        )
    if rows["label"].nunique() < 2:
        yield "all images are of one class; an evaluation needs both"
    if len(good) and (wide := int(good["profile"].sum())) and not convert:
        yield (
            f"{wide} images have a colour profile that is not sRGB, which is ignored; --convert"
            " applies it"
        )
    for column, word in (("format", "file formats"), ("dimensions", "sizes")):
        table = good.assign(
            dimensions=good["width"].astype(str) + " x " + good["height"].astype(str)
        )
        if _tells_classes(table, column):
            yield (
                f"the {word} alone tell the classes apart: see `robustbench-aigi audit"
                f" {recipe.name} --source ...`"
            )


def _tells_classes(table: pd.DataFrame, column: str) -> bool:
    """Whether a value of the column is usual in one class (more than half) and not in the other
    (less than a tenth).
    """
    if table["class"].nunique() < 2:
        return False
    shares = pd.crosstab(table[column].to_numpy(), table["class"].to_numpy(), normalize="columns")
    return bool(((shares.max(axis=1) > 0.5) & (shares.min(axis=1) < 0.1)).any())
