"""The recipe that a user named, and what to type if it was not a recipe or reads other folders."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from robustbench_aigi import catalogue
from robustbench_aigi.data.plusplus.reader import describe_unfinished, is_built
from robustbench_aigi.data.recipes import (
    DatasetRecipe,
    LabelledRecipe,
    PlusPlusRecipe,
    read_recipe,
)
from robustbench_aigi.data.sources.entry import UnfitError
from robustbench_aigi.data.sources.folders import Fit, fit_layout
from robustbench_aigi.data.sources.survey import Survey
from robustbench_aigi.errors import ConfigError, DataError, UnknownNameError

FALLBACK_RECIPE = "folder"
"""The recipe that is suggested where no other fits."""


def load_recipe(name: str) -> DatasetRecipe:
    """Read the recipe of a dataset.

    Args:
        name: of a shipped recipe, or a path that ends in ``.toml``.

    Raises:
        UnknownNameError: there is no such recipe; for a path that holds images, the message says
            what to type.
        ConfigError: it does not fit, or is the recipe of a perturbed set.
    """
    check_recipe_name(name)
    recipe = read_recipe(name)
    if isinstance(recipe, PlusPlusRecipe):
        raise ConfigError(
            f"{name} is the recipe of a perturbed set, not of a dataset: kind is {recipe.kind!r},"
            f" expected 'labelled' or 'mini'. Give its base, {recipe.base}, or build it first with"
            f" `robustbench-aigi build {shlex.quote(name)} --out FOLDER`."
        )
    return recipe


def check_recipe_name(name: str) -> None:
    """Check that a name is not the path of something else than a recipe.

    Args:
        name: what the user gave.

    Raises:
        UnknownNameError: it is a path that holds images; the message says what to type.
    """
    path = Path(name).expanduser()
    if name.endswith(".toml") or name in catalogue.names("datasets") or not path.exists():
        return
    unfinished = describe_unfinished(path)
    if unfinished is not None:
        raise UnknownNameError(unfinished)
    if is_built(path):
        raise UnknownNameError(
            f"{name} is a folder that build wrote, not a recipe. `robustbench-aigi audit` and"
            " `robustbench-aigi train --method static --data` take it; else give the recipe that"
            " it was built of, such as cifake, with --source."
        )
    folders = list(Survey.of(path).images) if path.is_dir() else []
    fitting = [*fitting_recipes(folders), FALLBACK_RECIPE][0]
    raise UnknownNameError(
        f"{name} is a path, not a recipe. Name the recipe that reads it and give the path with"
        f" --source: {words_to_type(fitting, name)}. See what is in it with `robustbench-aigi"
        f" inspect {shlex.quote(name)}`."
    )


def words_to_type(recipe: str, source: str | None) -> str:
    """Return the words of a command that name a recipe and a source.

    Args:
        recipe: its name.
        source: a path or hub id; left out if None.

    Example:
        >>> words_to_type("folder", None)
        '`--data folder` for train, evaluate and plan; `folder` for run, build and audit'
    """
    words = f"{recipe} --source {shlex.quote(source)}" if source else recipe
    return f"`--data {words}` for train, evaluate and plan; `{words}` for run, build and audit"


def fitting_recipes(folders: Sequence[str], *, in_table: bool = False) -> list[str]:
    """Return the shipped recipes that read class folders as both classes, the best fit first.

    Args:
        folders: paths of folders that hold images, or class names.
        in_table: whether they are class names of a table, which no recipe of class folders reads.
    """
    if not folders:
        return []
    found = [one for one in _fits(folders) if not (in_table and one.recipe.layout)]
    return [one.name for one in sorted(found, key=_fit_order)]


def recipe_hint(error: UnfitError, source: str | None) -> str:
    """Return what to type for classes that another recipe reads; empty if none does.

    Args:
        error: what did not fit.
        source: what the user gave.
    """
    found = fitting_recipes(error.folders, in_table=error.in_table)
    if not found:
        return ""
    what = "classes" if error.in_table else "folders"
    return f" The recipe {found[0]} reads these {what}: {words_to_type(found[0], source)}."


class _RecipeFit(NamedTuple):
    name: str
    recipe: LabelledRecipe
    fit: Fit


def _fits(folders: Sequence[str]) -> Iterator[_RecipeFit]:
    for name in catalogue.names("datasets"):
        try:
            recipe = read_recipe(name)
            if not isinstance(recipe, LabelledRecipe) or recipe.shares:
                continue
            fit = fit_layout(Path(), folders, recipe.terms)
        except (ConfigError, DataError):  # a broken recipe, or folders that it would not read
            continue
        if fit is not None and len(fit.labels) == 2:
            yield _RecipeFit(name, recipe, fit)


def _fit_order(one: _RecipeFit) -> tuple[int, bool, bool, str]:
    is_specific = one.recipe.layout is not None
    return -one.fit.matched, one.name != FALLBACK_RECIPE, not is_specific, one.name
