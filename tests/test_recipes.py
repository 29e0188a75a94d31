"""Recipes: read once, by their kind, and what is wrong with one that does not fit."""

import ast
import tomllib
from pathlib import Path

import pytest

from robustbench_aigi import catalogue
from robustbench_aigi.data import LabelledRecipe, PlusPlusRecipe, load_data
from robustbench_aigi.data.plusplus.manifest import NEEDED_COLUMNS, SET_COLUMNS
from robustbench_aigi.data.plusplus.request import BuildRequest, plan_build, resolve_recipe
from robustbench_aigi.data.recipes import read_recipe
from robustbench_aigi.data.sources.layouts import FolderLayout, folder_layouts, ordered_layouts
from robustbench_aigi.data.sources.recognise import layout_names
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.progress import silent
from tests.test_sources import files, own

DATA_FOLDER = Path("robustbench_aigi") / "data"
ROOT_FOLDER = Path(__file__).parent.parent


@pytest.mark.parametrize("name", catalogue.names("datasets"))
def test_a_recipe_is_read_as_its_kind(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    path = catalogue.folder("datasets") / f"{name}.toml"
    assert recipe.kind == tomllib.loads(path.read_text())["kind"]


def test_a_parsed_recipe_does_what_its_name_does(
    tiny_recipe: str, tiny_suite: str, tmp_path: Path
) -> None:
    recipe = read_recipe(tiny_recipe)
    assert not isinstance(recipe, PlusPlusRecipe)
    assert load_data(recipe).key == load_data(tiny_recipe).key
    request = BuildRequest(dataset=recipe, attacks=tiny_suite, samples=0)
    plan = plan_build(request, tmp_path / "skipped.csv", silent)
    assert plan.recipe is recipe
    assert plan.data.key == load_data(recipe).key
    assert " tiny " in request.public_command


def test_a_recipe_of_a_set_is_no_dataset_and_its_base_is_named() -> None:
    with pytest.raises(ConfigError, match=r"cifakepp is the recipe of a perturbed set.*cifake, or"):
        load_data("cifakepp")
    recipe, base = resolve_recipe("cifakepp")
    assert (recipe.name, base.name) == ("cifakepp", "cifake")


def test_an_unknown_layout_names_the_nearest_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"layout: no layout called 'genimag'.*mean genimage"):
        load_data(own(tmp_path, layout='"genimag"'), str(tmp_path))


def test_a_layout_is_added_by_registering_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dated(FolderLayout):
        """A folder per year, and in it one per class."""

        shown = "{year}/{class}"
        pattern = r"\d{4}/CLASS"
        rank = 5

    folder_layouts.names()
    monkeypatch.setitem(folder_layouts._classes, "dated", Dated)
    assert next(iter(ordered_layouts())) == "dated"
    assert "dated" in layout_names()
    root = files(tmp_path / "set", "2024/real", "2024/fake")
    recipe = own(tmp_path, layout='"dated"')
    assert len(load_data(recipe, str(root))) == 6


def test_needed_columns_are_columns_of_a_set() -> None:
    assert set(NEEDED_COLUMNS) < set(SET_COLUMNS)
    assert NEEDED_COLUMNS[:4] == ("id", "label", "split", "source")
    assert "surrogate" not in NEEDED_COLUMNS


def imports_of(path: Path) -> set[Path]:
    """Modules of this package that a module imports anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse((ROOT_FOLDER / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            base = Path(*node.module.split("."))
            for place in [base, *(base / alias.name for alias in node.names)]:
                for module in (place.with_suffix(".py"), place / "__init__.py"):
                    if (ROOT_FOLDER / module).is_file():
                        found.add(module)
    return found


def test_no_module_of_data_imports_itself_through_others() -> None:
    modules = [path.relative_to(ROOT_FOLDER) for path in (ROOT_FOLDER / DATA_FOLDER).rglob("*.py")]
    imports = {module: imports_of(module) & {*modules} for module in modules}
    while free := [module for module, needed in imports.items() if not needed]:
        for module in free:
            del imports[module]
        for needed in imports.values():
            needed.difference_update(free)
    assert not imports


def test_recipe_with_impossible_numbers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="shares must be"):
        load_data(own(tmp_path, shares="{ train = 0.9, validation = 0.2 }"), str(tmp_path))
    with pytest.raises(ConfigError, match="layout"):
        load_data(own(tmp_path, layout='"guess"'), str(tmp_path))
    text = (
        (catalogue.folder("datasets") / "folder.toml").read_text().replace("fake = 1", "fake = 2")
    )
    (tmp_path / "two.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"0 \(real\) or 1"):
        load_data(str(tmp_path / "two.toml"), str(tmp_path))


@pytest.mark.parametrize("name", ["folder", "forensynths", "genimage", "raid", "tiny-genimage"])
def test_shipped_recipes_name_both_classes(name: str) -> None:
    assert set(catalogue.read("datasets", name, LabelledRecipe).labels.values()) == {0, 1}
