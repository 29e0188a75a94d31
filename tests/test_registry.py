import pytest

from robustbench_aigi import catalogue
from robustbench_aigi.attacks import Suite, attacks, load_suite
from robustbench_aigi.data import Recipe
from robustbench_aigi.data.assembly import Kind, PlusPlus
from robustbench_aigi.detectors import detectors, load_detector
from robustbench_aigi.errors import BadConfig, UnknownName, UserError
from robustbench_aigi.registry import Registry


def test_unknown_name_says_what_came_what_is_near_and_what_to_type() -> None:
    with pytest.raises(UnknownName) as error:
        attacks.get("pgd_linf")
    assert "'pgd_linf'" in str(error.value)
    assert "Did you mean pgd-linf" in str(error.value)
    assert "robustbench-aigi list attacks" in str(error.value)


def test_name_is_taken_once() -> None:
    table: Registry[object] = Registry("thing", "robustbench_aigi.detectors")
    table.add("one")(int)
    with pytest.raises(ValueError, match="already"):
        table.add("one")(str)


def test_third_party_class_by_address() -> None:
    cls = detectors.get("robustbench_aigi.detectors.cifake_cnn:CifakeCNN")
    assert detectors.name_of(cls) == "cifake-cnn"
    with pytest.raises(UnknownName, match="module:Class"):
        load_detector("no_such_module:Thing")


@pytest.mark.parametrize("name", catalogue.names("attacks"))
def test_every_suite_reads_and_builds(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert all(row.built is not None for row in suite.rows)


@pytest.mark.parametrize("name", catalogue.names("datasets"))
def test_every_recipe_reads(name: str) -> None:
    if catalogue.read("datasets", name, Kind).kind == "plusplus":
        assert catalogue.read("datasets", name, PlusPlus).name == name
    else:
        assert catalogue.read("datasets", name, Recipe).name == name


def test_suite_with_an_unknown_key_names_it(tmp_path: pytest.TempPathFactory, tiny_suite: str) -> None:
    from pathlib import Path

    path = Path(str(tmp_path)) / "bad.toml"
    path.write_text(Path(tiny_suite).read_text() + '\nspeed = "high"\n')
    with pytest.raises(BadConfig, match=r"attacks\.2\.speed"):
        load_suite(str(path))
    path.write_text(Path(tiny_suite).read_text().replace("eps = 8", "epsilon = 8"))
    with pytest.raises(BadConfig, match="epsilon"):
        load_suite(str(path))
    path.write_text("name = ")
    with pytest.raises(BadConfig, match="not valid TOML"):
        load_suite(str(path))


def test_suite_refuses_two_rows_of_one_name() -> None:
    row = {"id": "a", "attack": "jpeg"}
    with pytest.raises(ValueError, match="distinct"):
        Suite.model_validate({"name": "x", "version": 1, "seed": 0, "attacks": [row, row]})


def test_every_error_of_ours_is_a_user_error() -> None:
    import robustbench_aigi.errors as module

    own = [c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__]
    assert all(issubclass(c, UserError) for c in own)
    assert all(c.__name__ in (module.__doc__ or "") for c in own)
