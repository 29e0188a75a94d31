import importlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from robustbench_aigi import catalogue
from robustbench_aigi.attacks import Suite, attacks, load_attack, load_suite
from robustbench_aigi.attacks.loading import describe_attack
from robustbench_aigi.cli.main import app
from robustbench_aigi.data import load_data
from robustbench_aigi.data.exporters import export
from robustbench_aigi.data.prompts import load_prompts
from robustbench_aigi.data.recipes import read_recipe
from robustbench_aigi.detectors import detectors, load_detector
from robustbench_aigi.errors import ConfigError, RobustbenchError, UnknownNameError, UserError
from robustbench_aigi.registry import LISTED_AS, Registry
from robustbench_aigi.report import Matrix, RunResults
from robustbench_aigi.report.formats import render
from robustbench_aigi.report.gate import load_policy
from robustbench_aigi.training.plans import load_training_plan

runner = CliRunner()


def test_unknown_name_says_what_came_what_is_near_and_what_to_type() -> None:
    with pytest.raises(UnknownNameError) as error:
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
    with pytest.raises(UnknownNameError, match="module:Class"):
        load_detector("no_such_module:Thing")


@pytest.mark.parametrize("name", catalogue.names("attacks"))
def test_every_suite_reads_and_builds(name: str) -> None:
    suite = load_suite(name)
    assert suite.name == name
    assert all(row.built is not None for row in suite.rows)


@pytest.mark.parametrize("name", catalogue.names("datasets"))
def test_every_recipe_reads(name: str) -> None:
    assert read_recipe(name).name == name


def test_suite_with_an_unknown_key_names_it(tmp_path: Path, tiny_suite: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(Path(tiny_suite).read_text() + '\nspeed = "high"\n')
    with pytest.raises(ConfigError, match=r"attacks\.2\.speed"):
        load_suite(str(path))
    path.write_text(Path(tiny_suite).read_text().replace("eps = 8", "epsilon = 8"))
    with pytest.raises(ConfigError, match="epsilon"):
        load_suite(str(path))
    path.write_text("name = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_suite(str(path))


def test_suite_names_any_policy_that_exists(tmp_path: Path, tiny_suite: str) -> None:
    path = tmp_path / "mine.toml"
    for policy in (*catalogue.names("policies"), str(tmp_path / "policy.toml")):
        if policy.endswith(".toml"):
            Path(policy).write_text('name = "own"\nversion = 1\n[[rules]]\nno = "flags"\n')
        path.write_text(f'policy = "{policy}"\n{Path(tiny_suite).read_text()}')
        assert load_suite(str(path)).policy == policy
    path.write_text(f'policy = "relase"\n{Path(tiny_suite).read_text()}')
    with pytest.raises(UnknownNameError, match=r"no policy called 'relase'\. Did you mean release"):
        load_suite(str(path))


def test_suite_refuses_two_rows_of_one_name() -> None:
    row = {"id": "a", "attack": "jpeg"}
    with pytest.raises(ValueError, match="distinct"):
        Suite.model_validate({"name": "x", "version": 1, "seed": 0, "attacks": [row, row]})


def test_errors_have_one_base_and_all_but_bugs_are_user_errors() -> None:
    import robustbench_aigi.errors as module

    own = [
        c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__
    ]
    assert all(issubclass(c, RobustbenchError) for c in own)
    assert {c.__name__ for c in own if not issubclass(c, UserError)} == {
        "RobustbenchError",
        "BrokenBudgetError",
    }
    assert all(c.__name__ in (module.__doc__ or "") for c in own)


WRONG: Mapping[str, Callable[[], object]] = {
    "attack": lambda: attacks.get("pgd_linf"),
    "detector": lambda: detectors.get("tinyvit5m"),
    "suite": lambda: load_suite("quik"),
    "recipe": lambda: load_data("cifak"),
    "policy": lambda: load_policy("relase"),
    "prompt file": lambda: load_prompts("cifakep"),
    "report format": lambda: render("latx", RunResults(Matrix())),
    "export format": lambda: export(Path(), "parqet", Path("out")),
    "number": lambda: load_attack("pgd-linf", epsilon=8),
    "checkpoint": lambda: load_detector("cifake-cnn", weights="missing.safetensors"),
}
RUNS = ("list",)
"""Commands that a message names and a test can run; of others it asks only whether they read their
arguments.
"""


@pytest.mark.parametrize("kind", WRONG)
def test_every_command_that_a_message_names_works_when_typed(kind: str) -> None:
    """C1: the hints `list policys`, `list prompts` and `list forms` were rejected."""
    with pytest.raises(UserError) as raised:
        WRONG[kind]()
    message = str(raised.value)
    commands = re.findall(r"`robustbench-aigi ([^`]*)`", message)
    assert commands or kind == "number", message
    assert "list number" not in message
    for words in map(shlex.split, commands):
        if words[0] in RUNS:
            assert runner.invoke(app, words).exit_code == 0, message
        else:
            assert parses(words), message


def parses(words: list[str]) -> bool:
    """Whether a command takes these words; it is not run."""
    commands: Any = typer.main.get_command(app)
    return not commands.commands[words[0]].make_context(words[0], words[1:]).args


@pytest.mark.parametrize("kind", LISTED_AS)
def test_every_kind_of_name_is_listed(kind: str) -> None:
    shown = runner.invoke(app, ["list", LISTED_AS[kind]])
    assert shown.exit_code == 0
    assert len(shown.stdout.splitlines()) > 1
    names = json.loads(runner.invoke(app, ["list", LISTED_AS[kind], "--json"]).stdout)[
        LISTED_AS[kind]
    ]
    assert all(f"  {name}" in shown.stdout for name in names)


def test_attacks_are_listed_with_what_they_are_and_take() -> None:
    """C13."""
    text = runner.invoke(app, ["list", "attacks"]).stdout
    assert "PGD: sign-gradient steps in the L-inf ball" in text
    assert "asks for gradients; takes eps=8, step=2, steps=10" in text
    assert "takes quality=75, severity=1 to 5" in text
    for name in attacks.names():
        about = describe_attack(name)
        assert about.summary, name
        assert load_attack(
            name,
            **{key: value for key, value in about.numbers.items() if key in ("eps", "quality")},
        )


@pytest.fixture
def broken_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A component folder with one good module and two that cannot be imported."""
    package = tmp_path / "things_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text(
        "from robustbench_aigi.registry import Registry\nthings = Registry('attack',"
        " 'things_of_a_test')\n"
    )
    (package / "bad.py").write_text("import no_such_library\n")
    (package / "good.py").write_text(
        "from things_of_a_test import things\n\n\n@things.add('good')\nclass Good:\n    pass\n"
    )
    (package / "worse.py").write_text("def broken(:\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "things_of_a_test"
    for name in [name for name in sys.modules if name.startswith("things_of_a_test")]:
        del sys.modules[name]


def test_a_module_that_cannot_be_imported_is_named_and_takes_nothing_with_it(
    broken_package: str,
) -> None:
    """C3: the second look-up said "no attack called good. Known: ."."""
    things = importlib.import_module(broken_package).things
    for _ in range(3):
        assert things.names() == ["good"]
        assert things.get("good").__name__ == "Good"
        with pytest.raises(UnknownNameError) as raised:
            things.get("goood")
        message = str(raised.value)
        assert "Did you mean good?" in message
        assert (
            "things_of_a_test.bad failed to import: ModuleNotFoundError: No module named"
            " 'no_such_library'" in message
        )
        assert "things_of_a_test.worse failed to import: SyntaxError" in message
    assert set(things.broken()) == {"things_of_a_test.bad", "things_of_a_test.worse"}


def test_somebody_elses_broken_entry_point_ends_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """C3."""
    theirs = EntryPoint("theirs", "no_such_module:Thing", "robustbench_aigi.attacks")
    monkeypatch.setattr("robustbench_aigi.registry.entry_points", lambda group: [theirs])
    table: Registry[object] = Registry("attack", "robustbench_aigi.generators")
    assert table.names() == []
    with pytest.raises(
        UnknownNameError,
        match=r"theirs \(no_such_module:Thing\) failed to import: ModuleNotFoundError",
    ):
        table.get("theirs")


def test_list_warns_of_modules_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "_broken", {"mine": "ImportError: no"})
    done = runner.invoke(app, ["list", "attacks"])
    assert done.exit_code == 0
    assert "warning: attacks: mine failed to import: ImportError: no" in done.stderr


FAULTS: Mapping[str, tuple[Callable[[str], object], str, str]] = {
    "at_lest": (
        load_policy,
        '[[rules]]\nmetric = "accuracy"\nattack = "clean"\nmode = "clean"\nat_lest = 0.9\n',
        "does not fit. rules.0.at_lest: not a key here; did you mean at_least or at_most? Compare",
    ),
    "metric": (
        load_policy,
        '[[rules]]\nmetric = "acuracy"\nattack = "clean"\nmode = "clean"\nat_least = 0.9\n',
        "rules.0: no metric called 'acuracy'. Did you mean accuracy or auc? Compare",
    ),
    "flag": (
        load_policy,
        '[[rules]]\nno = "flag"\n',
        (
            "rules.0.no: expected one of 'flags', 'missing' or 'regression', got 'flag'; did you"
            " mean flags? Compare"
        ),
    ),
    "type": (
        load_policy,
        '[[rules]]\nmetric = "accuracy"\nattack = "clean"\nmode = "clean"\nat_least = "high"\n',
        "does not fit. rules.0.at_least: wants type float (any finite number), got 'high'. Compare",
    ),
    "no rule": (
        load_policy,
        "rules = []\n",
        "does not fit. rules: expected 1 or more entries, got []. Compare",
    ),
    "missing": (
        load_policy,
        '[[rules]]\nmetric = "accuracy"\nattack = "clean"\nat_least = 0.5\n',
        "does not fit. rules.0.mode: this key is missing. Compare",
    ),
    "surogate": (
        load_suite,
        'seed = 0\n[[attacks]]\nid = "a"\nattack = "pgd-linf"\nsurogate = "tinyvit-5m"\n',
        "does not fit. attacks.0.surogate: not a key here; did you mean surrogate? Compare",
    ),
    "limit": (
        load_suite,
        'seed = 0\n[[attacks]]\nid = "a"\nattack = "pgd-linf"\nlimit = 1\n',
        "attacks.0.limit: expected 2 or more, got 1. Compare",
    ),
    "row": (
        load_suite,
        'seed = 0\n[[attacks]]\nid = "a"\nattack = "pgd-linf"\nwith = { epsilon = 8 }\n',
        "row a: no parameter of pgd-linf called 'epsilon'. Did you mean eps?",
    ),
    "training plan": (
        load_training_plan,
        '[[jobs]]\ndetector = "cifake-cnn"\nepoch = 2\n',
        "jobs.0.epoch: not a key here; did you mean epochs",
    ),
    "kind of recipe": (
        load_data,
        'licence = "test"\nkind = "labeled"\n',
        (
            "kind: expected one of 'labelled', 'mini', 'plusplus', got 'labeled'; did you mean"
            " labelled?"
        ),
    ),
    "recipe without a kind": (load_data, 'licence = "test"\n', "kind: this key is missing."),
    "key of another kind of recipe": (
        load_data,
        'licence = "test"\nkind = "labelled"\nattacks = "quick"\n',
        (
            "attacks: not a key here; keys are name, version, licence, homepage, seed,"
            " training_plan, kind"
        ),
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_typo_in_a_file_gives_one_sentence_that_says_what_is_meant(
    case: str, tmp_path: Path
) -> None:
    """C4: `at_lest` in a policy gave six faults, with function-after[_whole(), Bound] among
    them.
    """
    load, text, expected = FAULTS[case]
    path = tmp_path / "mine.toml"
    path.write_text(f'name = "mine"\nversion = 1\n{text}')
    with pytest.raises(ConfigError) as raised:
        load(str(path))
    message = str(raised.value)
    assert expected in message
    for inner in (
        "function-after",
        "Extra inputs",
        "extra inputs",
        "validation error",
        "field required",
    ):
        assert inner not in message
