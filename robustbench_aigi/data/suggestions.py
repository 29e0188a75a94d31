"""What to type instead: for a path in the place of a recipe, and for folders that another recipe
reads.
"""

import shlex
from collections.abc import Sequence
from pathlib import Path

from robustbench_aigi import catalogue
from robustbench_aigi.data.listing import terms_of
from robustbench_aigi.data.plusplus.reader import is_built, unfinished
from robustbench_aigi.data.recipes import Recipe
from robustbench_aigi.data.sources import UnfitError
from robustbench_aigi.data.sources.folders import fitted
from robustbench_aigi.data.sources.survey import Survey
from robustbench_aigi.errors import ConfigError, DataError, UnknownNameError


def recipe_named(name: str) -> Recipe:
    """The recipe of a name or path. Raises ``UnknownNameError``; of a path that holds images, with
    what to type instead.
    """
    return catalogue.read("datasets", as_recipe(name), Recipe)


def as_recipe(name: str) -> str:
    """The name of a recipe, as it is. Raises ``UnknownNameError`` if it is the path of something
    else.
    """
    path = Path(name).expanduser()
    if name.endswith(".toml") or name in catalogue.names("datasets") or not path.exists():
        return name
    if fault := unfinished(path):
        raise UnknownNameError(fault)
    if is_built(path):
        raise UnknownNameError(
            f"{name} is a folder that build wrote, not a recipe. `robustbench-aigi audit` and"
            " `robustbench-aigi train --method static --data` take it; else give the recipe that"
            " it was built of, such as cifake, with --source."
        )
    fitting = readers(_folders(path))[:1] or ["folder"]
    raise UnknownNameError(
        f"{name} is a path, not a recipe. Name the recipe that reads it and give the path with"
        f" --source: {to_type(fitting[0], name)}. See what is in it with `robustbench-aigi inspect"
        f" {shlex.quote(name)}`."
    )


def to_type(recipe: str, source: str | None) -> str:
    """The words of a command that name a recipe and a source."""
    words = recipe + (f" --source {shlex.quote(source)}" if source else "")
    return f"`--data {words}` for train, evaluate and plan; `{words}` for run, build and audit"


def _folders(path: Path) -> list[str]:
    return list(Survey.of(path).images) if path.is_dir() else []


def readers(folders: Sequence[str], *, in_table: bool = False) -> list[str]:
    """Names of the shipped recipes that read class folders of these paths as both classes, the best
    fitting first.

    Args:
        in_table: the names are those of classes in a table, which a recipe of class folders does
            not read.
    """
    found = []
    for name in catalogue.names("datasets"):
        try:
            recipe = catalogue.read("datasets", name, Recipe)
            fit = fitted(Path(), folders, terms_of(recipe)) if folders else None
        except (ConfigError, DataError):  # a recipe of another kind; folders that it would not read
            continue
        usable = (
            recipe.kind == "labelled" and not recipe.shares and not (in_table and recipe.layout)
        )
        if fit is not None and len(fit.labels) == 2 and usable:
            found.append((-fit.matched, name != "folder", recipe.layout is None, name))
    return [name for *_, name in sorted(found)]


def readers_hint(error: UnfitError, source: str | None) -> str:
    """What to type for classes that another recipe reads; empty if none does."""
    found = readers(error.folders, in_table=error.in_table)
    what = "classes" if error.in_table else "folders"
    return (
        f" The recipe {found[0]} reads these {what}: {to_type(found[0], source)}." if found else ""
    )
