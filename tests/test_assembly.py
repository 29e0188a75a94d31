"""What a build is asked for, put together: splits, surrogates, samples, and images that others
made.
"""

from pathlib import Path

import pandas as pd
import pytest

from robustbench_aigi.attacks import load_suite
from robustbench_aigi.data import describe_counts
from robustbench_aigi.data.plusplus.build import build_plusplus, load_plusplus
from robustbench_aigi.data.plusplus.request import (
    BuildPlan,
    BuildRequest,
    plan_build,
    resolve_recipe,
)
from robustbench_aigi.data.plusplus.samples import make_samples
from robustbench_aigi.data.prompts import load_prompts
from robustbench_aigi.errors import DataError
from robustbench_aigi.progress import silent
from tests.test_data import folder


def test_a_recipe_of_a_set_names_its_surrogates(tiny_recipe: str, tmp_path: Path) -> None:
    recipe = tmp_path / "own.toml"
    recipe.write_text(
        f'name = "own"\nversion = 1\nkind = "plusplus"\nlicence = "test"\nbase = "{tiny_recipe}"\n'
        'attacks = "quick"\nby_turns = ["train"]\n[images]\ntrain = 20\n[samples]\ntest = 3\n'
        '[surrogates]\n"resnet18-c32" = "cifake"\n"cifake-cnn" = "cifake"\n'
    )
    made = plan_build(BuildRequest(dataset=str(recipe)), tmp_path / "skipped.csv", silent)
    assert {split: (len(part.data), part.samples) for split, part in made.parts.items()} == {
        "train": (20, 0),
        "validation": (24, 0),
        "test": (24, 3),
    }
    assert {split: part.all_rows for split, part in made.parts.items()} == {
        "train": False,
        "validation": True,
        "test": True,
    }
    assert made.suite.surrogates == {"cifake-cnn"} == {*made.surrogates}
    assert resolve_recipe(tiny_recipe).plusplus.samples == {
        "train": 100,
        "validation": 100,
        "test": 100,
    }


def test_no_file_is_on_two_sides_of_a_split(tiny_suite: str, tmp_path: Path) -> None:
    root = folder(tmp_path / "data", count=60)
    twins = [
        root / "train" / name / f"{i:04d} ({i % 10 + 1}).png"
        for name in ("REAL", "FAKE")
        for i in range(20)
    ]
    for path in twins:
        path.write_bytes((root / "test" / path.parent.name / path.name).read_bytes())
    unread = root / "train" / "REAL" / "broken.png"
    unread.write_bytes(b"")
    order = BuildRequest(dataset="cifake", source=str(root), attacks=tiny_suite, samples=0)
    made = plan_build(order, tmp_path / "skipped.csv", silent)
    files = {split: set(part.data.manifest["sha256"]) for split, part in made.parts.items()}
    assert not files["train"] & files["test"]
    assert not files["validation"] & files["test"]
    assert len(made.parts["test"].data) == 120
    assert sum(len(part.data) for part in made.parts.values()) == 240 - len(twins)
    left = pd.read_csv(tmp_path / "skipped.csv").set_index("id")["reason"]
    assert (left == "the same file is in test").sum() == len(twins)
    assert len(left) == len(twins) + 1
    assert "41 left out" in describe_counts(made.data, tmp_path / "skipped.csv")


def test_generated_images_are_added_as_they_are(
    tiny_recipe: str, tiny_suite: str, tmp_path: Path
) -> None:
    prompts = load_prompts("mini").model_copy(update={"images": {"test": 2}})
    made = make_samples(prompts, tmp_path / "drawn")

    def put_together(generated: Path) -> BuildPlan:
        order = BuildRequest(
            dataset=tiny_recipe, attacks=tiny_suite, samples=0, generated=generated
        )
        return plan_build(order, tmp_path / "skipped.csv", silent)

    part = put_together(tmp_path / "drawn").parts["test"]
    build_plusplus(
        {"test": part},
        load_suite("quick").model_copy(update={"rows": ()}),
        {},
        tmp_path / "set",
        silent,
    )
    added = load_plusplus(tmp_path / "set", "test", "generated").manifest
    assert added["sha256"].tolist() == made["sha256"].tolist()
    assert (added["label"] == 1).all()
    with pytest.raises(DataError, match="robustbench-aigi generate"):
        put_together(tmp_path)


def test_the_command_on_a_card_names_no_place(tmp_path: Path) -> None:
    order = BuildRequest(
        dataset="cifake",
        source=str(tmp_path),
        attacks=str(tmp_path / "own.toml"),
        surrogates=["/a/b"],
    )
    assert (
        order.public_command
        == "robustbench-aigi build cifake --source PATH --attacks own.toml --surrogate CHECKPOINT"
        " --out FOLDER"
    )
