"""Reports of several runs, and of a run that was stopped: they say what is missing and invent
nothing.
"""

import json
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustbench_aigi.data import load_data
from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.run_state import Tables, read_cells
from robustbench_aigi.evaluation.status import status, to_text
from robustbench_aigi.pipeline.evaluate import evaluate
from robustbench_aigi.report import Matrix, read_matrix, read_runs, write_report
from robustbench_aigi.report.gate import judge, load_policy
from tests.finished_run import SUITE, detector, finished


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: str) -> Path:
    return finished(
        tmp_path_factory.mktemp("a") / "one", tiny_recipe, detector("good"), detector("other")
    )


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: str) -> Path:
    return finished(
        tmp_path_factory.mktemp("b") / "two",
        tiny_recipe,
        detector("good"),
        detector("fakes only", -1e6),
    )


def test_several_runs_become_one_report(one: Path, two: Path, tmp_path: Path) -> None:
    whole = read_runs([one, two])
    names = ["good (one)", "other", "good (two)", "fakes only"]
    assert list(dict.fromkeys(whole.matrix["detector"])) == names
    assert (
        whole.matrix.cell("good (two)", "pgd-2", "white-box")
        .drop("detector")
        .equals(read_matrix(two).cell("good", "pgd-2", "white-box").drop("detector"))
    )
    assert {detector for detector, _, _ in whole.cells} == set(names)
    assert list(whole.facts["detectors"]) == names
    assert whole.flags is not None
    assert {flag.detector for flag in whole.flags} <= set(names)
    write_report(whole, tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert all(page.count(name) > 3 for name in names)
    written = pd.read_csv(tmp_path / "generators.csv")
    assert set(written["detector"]) == set(names)


def test_runs_that_cannot_stand_together_are_refused(
    one: Path, two: Path, tiny_recipe: str, tmp_path: Path
) -> None:
    fewer = tmp_path / "fewer"
    evaluate([detector("good")], SUITE, load_data(tiny_recipe, split="test", limit=4), fewer)
    with pytest.raises(DataError, match="are of other images"):
        read_runs([one, fewer])
    changed = tmp_path / "changed"
    shutil.copytree(two, changed)
    facts = json.loads((changed / "run.json").read_text())
    facts["suite"]["attacks"][0]["with"]["eps"] = 3
    (changed / "run.json").write_text(json.dumps(facts))
    with pytest.raises(DataError, match="something else by pgd-2"):
        read_runs([one, changed])
    shutil.copytree(one, tmp_path / "one")
    with pytest.raises(DataError, match="Give the folders two names"):
        read_runs([one, tmp_path / "one"])
    with pytest.raises(DataError, match=r"holds no matrix\.csv"):
        read_runs([tmp_path])


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def test_a_stopped_run_says_what_is_missing(one: Path, tiny_recipe: str, tmp_path: Path) -> None:
    def stop(task: str, done: int, total: int) -> None:
        if task == "other: static jpeg-50":
            raise Killed

    run = tmp_path / "run"
    with pytest.raises(Killed):
        evaluate(
            [detector("good"), detector("other")],
            SUITE,
            load_data(tiny_recipe, split="test"),
            run,
            progress=stop,
        )
    assert not (run / "matrix.csv").exists()
    standing = status(run)
    assert standing.counts == {"done": 7, "missing": 1}
    assert (standing.is_running, standing.is_finished, standing.unknown) == (False, False, 0)
    assert standing.seconds > 0
    assert "  other: 3 of 4 cells" in to_text(run, standing)
    whole, before = read_runs([run]), read_matrix(one)
    done = whole.matrix[whole.matrix["accuracy"].notna() & (whole.matrix["attack"] != "worst-case")]
    keys = ["detector", "mode", "attack", "direction"]
    both = done.merge(before, on=keys, suffixes=("", "_before"))
    assert len(both) == len(done)
    assert (both["accuracy"] - both["accuracy_before"]).abs().max() < 1e-6
    assert set(done["detector"]) == {"good", "other"}
    lost = whole.matrix[whole.matrix["status"].str.startswith("missing")]
    assert set(zip(lost["detector"], lost["mode"], lost["attack"], strict=True)) == {
        ("other", "static", "jpeg-50")
    }
    assert lost["accuracy"].isna().all()
    worst = whole.matrix.cell("other", "worst-case", "static")
    assert worst["status"] == "incomplete: jpeg-50 missing"
    assert whole.flags is None
    write_report(whole, run)
    for name in ("report.html", "matrix.md"):
        text = (run / name).read_text()
        assert "other, static, jpeg-50: missing: not started" in text
        assert "the run was stopped before its end" in text
    found = {
        (j.rule, j.detector): (j.verdict, j.evidence)
        for j in judge(load_policy("no-regression"), whole, one)
    }
    assert found["no missing", "other"][0] == "fail"
    assert "missing: not started" in found["no missing", "other"][1]
    assert found["no regression at p < 0.01", "other"] == (
        "undecided",
        "cells of the base that are not in this run: 1",
    )
    finished(run, tiny_recipe, detector("good"), detector("other"))
    assert to_text(run, status(run)) == f"{run}: finished; 8 of 8 cells done"
    assert (run / "matrix.csv").read_bytes() == (one / "matrix.csv").read_bytes()


@pytest.mark.parametrize("lost", ["n", "low", "n_correct_before", "success_high"])
def test_a_number_without_what_belongs_to_it_is_told(lost: str, one: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(one, run)
    table = pd.read_csv(run / "matrix.csv")
    assert table[lost].notna().any()
    table.assign(**{lost: None}).to_csv(run / "matrix.csv", index=False)
    with pytest.raises(DataError, match=f"without .*{lost}.*Delete it and rerun"):
        read_matrix(run)


def test_a_shard_of_an_image_that_the_run_has_not_is_told(one: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(one, run)
    shard = next((run / "cells" / "good").glob("white-box-*/shard-0000.parquet"))
    whole = pq.read_table(shard)
    ids = pa.array([f"{identity}?" for identity in whole["id"].to_pylist()])
    pq.write_table(whole.set_column(whole.schema.get_field_index("id"), "id", ids), shard)
    with pytest.raises(
        DataError,
        match=r"shard-0000.parquet is of an image that the run has not, '.*\?'. Delete it",
    ):
        write_report(read_runs([run]), tmp_path / "out")


def test_an_auc_of_too_few_images_has_no_interval(tiny_recipe: str, tmp_path: Path) -> None:
    few = load_data(tiny_recipe, split="test", limit=4)
    matrix = evaluate([detector("good")], SUITE, few, tmp_path)
    assert (matrix["auc"].notna() & matrix["auc_low"].isna()).any()
    assert "nan to nan" not in (tmp_path / "report.html").read_text()


def test_cells_of_another_run_in_the_folder_are_not_this_one(
    one: Path, tiny_recipe: str, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(one, run)
    assert len(read_cells(run)) == 8
    evaluate([detector("good")], SUITE, load_data(tiny_recipe, split="test", limit=4), run)
    assert {key[0] for key in read_cells(run)} == {"good"}
    assert all(len(table) == 4 for table in read_cells(run).values())


def test_a_matrix_shows_itself(one: Path, tmp_path: Path) -> None:
    matrix = Matrix(read_matrix(one))
    assert isinstance(matrix[matrix["detector"] == "good"], Matrix)
    shown = matrix.style.to_html()
    assert f"{100 * matrix.cell('good', 'jpeg-50', 'static')['accuracy']:.1f}" in shown
    assert "background-color" in shown
    wide = matrix.wide("low", "framing")
    assert (
        wide.loc["good", ("white-box", "pgd-2")]
        == matrix.cell("good", "pgd-2", "white-box", "framing")["low"]
    )
    assert list(wide.index) == ["good", "other"]
    matrix.to_html(tmp_path / "page.html")
    assert "<title>Robustness report" in (tmp_path / "page.html").read_text()
    assert matrix.to_html().startswith("<table")


def test_tables_are_read_when_they_are_asked_for_and_not_before() -> None:
    asked: list[str] = []

    def read() -> pd.DataFrame:
        asked.append("read")
        return pd.DataFrame({"id": ["one"]})

    tables = Tables({("mine", "clean", "clean"): read})
    called = Tables(tables.renamed(lambda name: f"{name}, again"))
    assert list(called) == [("mine, again", "clean", "clean")]
    assert ("mine, again", "clean", "clean") in called
    assert called.get(("mine", "clean", "clean")) is None
    assert not asked
    assert [len(table) for _, table in called.items()] == [1]
    assert asked == ["read"]
