"""The plan names every cell that the evaluation fills, with the passes that it will take."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

from robustbench_aigi.cli.main import main
from robustbench_aigi.data import load_data
from robustbench_aigi.data.trials import WORKER_START
from robustbench_aigi.detectors import save_detector
from robustbench_aigi.evaluation.cells import ATTACK_MODES
from robustbench_aigi.evaluation.cost_text import to_text
from robustbench_aigi.evaluation.run_state import read_cells
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.pipeline.plan import plan_evaluation
from tests.finished_run import SUITE, detector

MAX_RATIO = 1.5
"""Of what is planned to what is taken, and of what is taken to what is planned."""


def occupied(folder: Path) -> int:
    """Return the bytes that a folder takes on the disk, as ``du`` counts them."""
    return sum(512 * path.lstat().st_blocks for path in [folder, *folder.rglob("*")])


def check_disk(table: pd.DataFrame, folder: Path) -> None:
    """Compare what a plan says of the disk with what a run left there."""
    is_built = table["mode"] == "static"
    built = float(table.loc[is_built & (table["detector"] == ""), "megabytes"].sum())
    assert built == pytest.approx(occupied(folder / "plusplus") / 1e6, rel=0.25)
    cells = float(table.loc[table["detector"] == "good", "megabytes"].sum())
    assert cells == pytest.approx(occupied(folder / "cells" / "good") / 1e6, rel=0.25)
    ratio = float(table["megabytes"].sum()) * 1e6 / occupied(folder)
    assert 1 / MAX_RATIO <= ratio <= MAX_RATIO


def test_the_plan_is_of_the_cells_that_are_filled(tiny_recipe: str, tmp_path: Path) -> None:
    made = [detector("good"), detector("other", 0.5)]
    table, held = plan_evaluation(made, SUITE, tiny_recipe)
    evaluate(made, SUITE, load_data(tiny_recipe, split="test"), tmp_path)
    filled = read_cells(tmp_path)
    own = table[(table["detector"] != "") & table["mode"].isin(ATTACK_MODES)]
    assert set(zip(own["detector"], own["mode"], own["attack"], strict=True)) == set(filled)
    shared = table[table["detector"] == ""]
    assert list(zip(shared["mode"], shared["attack"], strict=True)) == [
        ("start", "command"),
        ("start", WORKER_START),
        ("start", "checks"),
        ("static", "clean"),
        ("static", "pgd-2"),
        ("static", "jpeg-50"),
        ("report", "page"),
    ]
    for row in own.to_dict("records"):
        cell = filled[row["detector"], row["mode"], row["attack"]]
        assert row["images"] == len(cell)
        spent = float((cell["forwards"] + cell["backwards"]).sum())
        assert row["passes"] == pytest.approx(
            spent, rel=0.1, abs=24
        )  # a plan asks for the clean logits once more
    check_disk(table, tmp_path)
    probes = {
        path.name.removeprefix("probe-") for path in (tmp_path / "cells" / "good").glob("probe-*")
    }
    assert (
        set(table.loc[(table["detector"] == "good") & (table["mode"] == "probe"), "attack"])
        == probes
    )
    assert (table["seconds"] > 0).all()
    assert set(held) == {"good", "other"}
    text = to_text(table, 2, held)
    is_worker = table["attack"] == WORKER_START
    seconds = table["seconds"].sum() + table.loc[is_worker, "seconds"].sum()
    assert f"about {seconds / 60:.1f} CPU minutes" in text
    assert f" {seconds / 120:.1f} minutes with 2 workers of one thread" in text
    assert f"{table['megabytes'].sum():.0f} MB on the disk" in text
    peak = table["memory"].max()
    assert f"{peak / 1e6:.0f} MB of memory per worker" in text
    assert f"{(2 * peak + table['memory'].iloc[0]) / 1e6:.0f} MB for all processes" in text


def test_the_command_plans_or_says_how(
    tiny_recipe: str,
    tiny_suite: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    save_detector(detector("cifake-cnn"), tmp_path / "cnn.safetensors")
    typed = [
        "robustbench-aigi",
        "plan",
        str(tmp_path / "cnn.safetensors"),
        "--data",
        tiny_recipe,
        "--attacks",
        tiny_suite,
    ]
    for arguments, code, said in ((typed, 0, "| cifake-cnn | "), (typed[:2], 2, "Name detectors")):
        monkeypatch.setattr(sys, "argv", arguments)
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == code
        message = capsys.readouterr()
        assert said in message.out + message.err
    monkeypatch.setattr(sys, "argv", [*typed, "--json"])
    with pytest.raises(SystemExit):
        main()
    printed = json.loads(capsys.readouterr().out)
    assert printed["totals"]["workers"] == 1
    cell = next(row for row in printed["cells"] if row["mode"] == "clean")
    assert cell["detector"] == "cifake-cnn"
    assert cell["price"] is None
    assert isinstance(plan_evaluation([detector("good")], SUITE, tiny_recipe)[0], pd.DataFrame)
