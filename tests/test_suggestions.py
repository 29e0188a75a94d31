"""What to type instead: for paths, missing splits and unfinished builds."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from robustbench_aigi.cli.main import app
from robustbench_aigi.data import load_data
from robustbench_aigi.data.plusplus.request import BuildRequest
from robustbench_aigi.data.suggestions import load_recipe
from robustbench_aigi.errors import DataError, UnknownNameError, UserError
from robustbench_aigi.pipeline import datasets as data_pipeline
from tests.test_inspect import typed
from tests.test_sources import files
from tests.test_splits import table


def test_a_path_in_the_place_of_a_recipe_is_explained(tmp_path: Path) -> None:
    """Case B16: the words in the message work when typed."""
    place = files(tmp_path / "my images", "0_real", "1_fake")
    for call in (
        lambda: load_data(str(place)),
        lambda: load_recipe(str(place)),
        lambda: data_pipeline.audit(str(place), tmp_path / "audit"),
        lambda: data_pipeline.build(BuildRequest(dataset=str(place)), tmp_path / "built"),
    ):
        with pytest.raises(UnknownNameError, match="is a path, not a recipe") as caught:
            call()
        train, others, looked = typed(str(caught.value))
        assert train == ["--data", "forensynths", "--source", str(place)]
        assert len(load_data(others[0], others[2])) == 6
        assert looked == ["robustbench-aigi", "inspect", str(place)]
    file = table(tmp_path / "test.parquet")
    with pytest.raises(UnknownNameError, match=re.escape(f"--data folder --source {file}")):
        load_data(str(file))
    with pytest.raises(UnknownNameError, match="Did you mean folder"):
        load_data("foldr")


@pytest.mark.parametrize("folders", [("real", "fake"), ("Real", "FAKE")])
def test_training_on_a_folder_without_splits_says_which_recipe_draws_them(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    """Case B16: the recipe in the message works, and trains on none of what it tests."""
    root = files(tmp_path / "set", *folders, count=30)
    with pytest.raises(DataError, match="let the recipe folder-split draw them") as caught:
        load_data("folder", str(root), ("train", "validation"))
    recipe = typed(str(caught.value))[1][0]
    place = typed(str(caught.value))[1][2]
    parts = {
        name: load_data(recipe, place, name).manifest for name in ("train", "validation", "test")
    }
    assert {name: len(rows) for name, rows in parts.items()} == {
        "train": 42,
        "validation": 4,
        "test": 14,
    }
    assert not set(parts["train"]["sha256"]) & set(parts["test"]["sha256"])


@pytest.mark.parametrize(("there", "wanted"), [("test", "train"), ("train", "test")])
def test_a_split_that_is_not_there_is_not_drawn_from_another_one(
    there: str, wanted: str, tmp_path: Path
) -> None:
    root = files(tmp_path, f"{there}/real", f"{there}/fake")
    with pytest.raises(
        DataError,
        match=rf"no '{wanted}' split here, only {there}.* Put its images into a folder or file",
    ):
        load_data("folder", str(root), wanted)


def unfinished(root: Path) -> Path:
    """A build that is stopped in the middle."""
    data = files(root / "data", "test/REAL", "test/FAKE")
    suite = root / "suite.toml"
    suite.write_text(
        'name = "t"\nversion = 1\nseed = 0\n[[attacks]]\nid = "jpeg-75"\nattack = "jpeg"\n'
    )

    def stop(task: str, done: int, total: int) -> None:
        if "building" in task:
            raise KeyboardInterrupt

    from robustbench_aigi.executors import InProcessExecutor

    order = BuildRequest(dataset="cifake", source=str(data), attacks=str(suite), samples=0)
    with pytest.raises(KeyboardInterrupt):
        data_pipeline.build(order, root / "built", executor=InProcessExecutor(1), progress=stop)
    return root / "built"


def test_an_unfinished_build_is_named_with_the_command_that_finishes_it(tmp_path: Path) -> None:
    """Case B16."""
    built = unfinished(tmp_path)
    calls = (
        lambda: data_pipeline.audit(str(built), tmp_path / "audit"),
        lambda: data_pipeline.inspect(str(built)),
        lambda: load_data(str(built)),
    )
    for call in calls:
        with pytest.raises(UserError, match="is an unfinished build") as caught:
            call()
    ((name, *words),) = typed(str(caught.value))
    assert (name, words[0]) == ("robustbench-aigi", "build")
    done = CliRunner().invoke(app, [*words, "--executor", "local", "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert not (built / ".command").exists()
    assert data_pipeline.audit(str(built), tmp_path / "audit").images == 12
    assert data_pipeline.inspect(str(built)).layout == "built set"
    with pytest.raises(UnknownNameError, match="is a folder that build wrote, not a recipe"):
        load_data(str(built))
