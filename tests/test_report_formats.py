"""Report formats: they validate, they carry the matrix's numbers, and odd names do them no harm."""

import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import final

import jsonschema
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from robustbench_aigi.cli.main import app
from robustbench_aigi.errors import UnknownNameError
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.report import RunResults, read_runs
from robustbench_aigi.report.formats import ReportFormat, render, report_formats
from tests.finished_run import detector, finished

ODD = 'a_b & 50% "$x" #1'


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tiny_recipe: str) -> Path:
    made = [detector("good"), detector(ODD)]
    return finished(tmp_path_factory.mktemp("run"), tiny_recipe, *made)


@pytest.fixture(scope="module")
def whole(run: Path) -> RunResults:
    return read_runs([run])


@pytest.fixture(scope="module")
def matrix(whole: RunResults) -> MatrixFrame:
    return whole.matrix


def test_json_fits_its_published_schema(run: Path, whole: RunResults, matrix: MatrixFrame) -> None:
    file = json.loads((run / "matrix.json").read_text())
    schema = json.loads(render("schema", whole))
    jsonschema.validate(file, schema)
    assert len(file["rows"]) == len(matrix)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schema": 3, "rows": [{"detector": "x"}]}, schema)


def test_wide_has_every_accuracy_once(run: Path, whole: RunResults, matrix: MatrixFrame) -> None:
    wide = pd.read_csv(io.StringIO(render("wide", whole)), index_col="detector")
    assert list(wide.index) == list(dict.fromkeys(matrix["detector"]))
    for row in matrix[matrix["accuracy"].notna()].to_dict("records"):
        assert (
            wide.loc[row["detector"], f"{row['mode']}/{row['attack']}/{row['direction']}"]
            == row["accuracy"]
        )


def test_latex_compiles_and_shows_the_numbers(
    run: Path, whole: RunResults, matrix: MatrixFrame, tmp_path: Path
) -> None:
    text = render("latex", whole)
    assert r"\toprule" in text
    assert f"{100 * matrix.cell('good', 'jpeg-50', 'static')['accuracy']:.1f}" in text
    assert r"a\_b \& 50\% " in text
    if shutil.which("pdflatex") is None:
        pytest.skip("no pdflatex on this machine")
    document = (
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
        + text
        + "\\end{document}\n"
    )
    (tmp_path / "t.tex").write_text(document)
    done = subprocess.run(
        ["pdflatex", "-halt-on-error", "t.tex"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:]


def test_sarif_has_a_result_for_each_flag_and_gap(
    run: Path, whole: RunResults, matrix: MatrixFrame
) -> None:
    log = json.loads(render("sarif", whole))
    flags = json.loads((run / "adequacy.json").read_text())["flags"]
    missing = matrix[matrix["status"] != "ok"].drop_duplicates(["detector", "mode", "attack"])
    results = log["runs"][0]["results"]
    assert len(results) == len(flags) + len(missing)
    named = {rule["id"] for rule in log["runs"][0]["tool"]["driver"]["rules"]}
    assert named == {result["ruleId"] for result in results}
    assert {result["level"] for result in results} <= {"note", "warning", "error"}


def test_model_index_and_entries_carry_the_numbers(
    run: Path, whole: RunResults, matrix: MatrixFrame
) -> None:
    index = yaml.safe_load(render("model-index", whole))["model-index"]
    assert [entry["name"] for entry in index] == ["good", ODD]
    metrics = {m["name"]: m["value"] for result in index[0]["results"] for m in result["metrics"]}
    assert (
        metrics["accuracy, pgd-2, white-box"]
        == matrix.cell("good", "pgd-2", "white-box")["accuracy"]
    )
    entries = json.loads(render("robustbench", whole))
    worst = matrix.cell("good", "worst-case", "white-box")["accuracy"]
    assert entries["good"]["robust_acc"] == f"{100 * worst:.2f}"


def test_every_format_takes_tables_of_no_one_and_many_rows(
    run: Path, whole: RunResults, matrix: MatrixFrame
) -> None:
    one = MatrixFrame(matrix[matrix["detector"] == "good"].head(1))
    many = MatrixFrame(
        pd.concat(
            [matrix[matrix["detector"] == "good"].assign(detector=f"d{i}") for i in range(50)]
        )
    )
    gone = MatrixFrame(matrix.head(0))
    for name in report_formats.names():
        for table in (gone, one, many):
            assert render(name, replace(whole, matrix=table))
    with pytest.raises(
        UnknownNameError, match=r"no report format called 'latx'. Did you mean latex"
    ):
        render("latx", whole)


@final
class Names(ReportFormat):
    """The names of the detectors: a format of another package."""

    def render(self, results: RunResults) -> str:
        return "\n".join(dict.fromkeys(results.matrix["detector"])) + "\n"


def test_a_format_of_another_module_is_named_by_its_address(run: Path, whole: RunResults) -> None:
    assert render(f"{__name__}:Names", whole) == f"good\n{ODD}\n"


def test_the_command_prints_a_format_and_lists_all(run: Path, whole: RunResults) -> None:
    done = CliRunner().invoke(app, ["report", str(run), "--format", "wide"])
    assert done.exit_code == 0
    assert done.stdout == render("wide", whole)
    listed = CliRunner().invoke(app, ["list", "formats"]).stdout
    assert listed.split() == ["formats:", *report_formats.names()]
