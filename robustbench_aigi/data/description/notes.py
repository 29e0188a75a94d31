"""What a user should see before a source is used."""

from collections.abc import Iterator

import pandas as pd

from robustbench_aigi.data.drawing import CLASS_WORDS, named_labels
from robustbench_aigi.data.recipes import LabelledRecipe
from robustbench_aigi.data.sources.recognise import RecognisedSource

USUAL_SHARE = 0.5
"""Share of a class above which a value is usual in it."""
RARE_SHARE = 0.1
"""Share of a class below which a value is rare in it."""


def listing_notes(
    found: RecognisedSource, recipe: LabelledRecipe, rows: pd.DataFrame
) -> Iterator[str]:
    """Yield notes about labels and names, before any image is opened.

    Args:
        found: what the source is.
        recipe: how it is read.
        rows: its manifest.
    """
    if found.has_label_column and recipe.numbers:
        numbers = ", ".join(
            f"{number} is {CLASS_WORDS[label]}" for number, label in recipe.numbers.items()
        )
        yield f"where labels are numbers without names, {numbers}, as the recipe {recipe.name} says"
    named = named_labels(rows, recipe.terms)
    wrong = int((named.notna() & (named != rows["label"])).sum())
    if wrong:
        yield f"{wrong} images are in a folder that is called like the other class"
    again = int(rows["id"].str.contains(r"~\d+$", regex=True).sum())
    if again:
        yield (
            f"{again} images have the name of another one, but for the ending; a number tells them"
            " apart"
        )
    if rows["label"].nunique() < 2:
        yield "all images are of one class; an evaluation needs both"


def header_notes(good: pd.DataFrame, recipe_name: str, *, convert: bool) -> Iterator[str]:
    """Yield notes about formats, sizes and colour profiles.

    Args:
        good: headers of images that can be read, with the column ``class``.
        recipe_name: for the command to type.
        convert: whether colour profiles are applied.
    """
    profiles = int(good["profile"].sum()) if len(good) else 0
    if profiles and not convert:
        yield (
            f"{profiles} images have a colour profile that is not sRGB, which is ignored; --convert"
            " applies it"
        )
    dimensions = good["width"].astype(str) + " x " + good["height"].astype(str)
    table = good.assign(dimensions=dimensions)
    for column, word in (("format", "file formats"), ("dimensions", "sizes")):
        if _separates_classes(table, column):
            yield (
                f"the {word} alone tell the classes apart: see `robustbench-aigi audit"
                f" {recipe_name} --source ...`"
            )


def _separates_classes(table: pd.DataFrame, column: str) -> bool:
    """Return whether a value of the column is usual in one class and rare in the other."""
    if table["class"].nunique() < 2:
        return False
    shares = pd.crosstab(table[column].to_numpy(), table["class"].to_numpy(), normalize="columns")
    is_usual = shares.max(axis=1) > USUAL_SHARE
    is_rare = shares.min(axis=1) < RARE_SHARE
    return bool((is_usual & is_rare).any())
