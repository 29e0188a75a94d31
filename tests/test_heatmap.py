"""The heat map: what a cell holds, and that the page's script reads it by the same names."""

import json
import re
from pathlib import Path

import pandas as pd

from robustbench_aigi.evaluation.columns import COLUMN_NAMES, COLUMN_TYPES, MetricSpec
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.report import RunResults
from robustbench_aigi.report.html import heatmap as module
from robustbench_aigi.report.html.heatmap import HeatCell, heatmap, shade

SCRIPT = (Path(module.__file__).parent / "templates" / "report.js").read_text()
CLEAN = {"mode": "clean", "attack": "clean", "direction": "both", "status": "ok", "n": 40}
NUMBERS = {"accuracy": 0.75, "low": 0.6, "high": 0.85}
GENERATOR = {
    "worst_generator": "sd",
    "worst_generator_accuracy": 0.5,
    "worst_generator_low": 0.25,
    "worst_generator_high": 0.75,
}


def results(*rows: dict[str, object]) -> RunResults:
    frame = pd.DataFrame([{"detector": "mine"} | row for row in rows], columns=list(COLUMN_NAMES))
    return RunResults(MatrixFrame(frame.astype(COLUMN_TYPES)))


def only(metric: str = "accuracy", **changed: object) -> HeatCell:
    (row,) = heatmap(results(CLEAN | NUMBERS | GENERATOR | changed)).cells[metric]["both"]
    return row[0]


def test_the_script_reads_every_field_and_no_other_of_a_cell() -> None:
    of_elements = {"scope", "className", "setAttribute", "append"}
    assert set(re.findall(r"\bcell\.(\w+)", SCRIPT)) - of_elements == set(HeatCell.model_fields)


def test_a_cell_holds_what_the_row_says() -> None:
    assert only() == HeatCell(text="75.0", shade=0.5, interval="60.0 to 85.0", images=40)
    marked = only(flags="zero-gradient", status="incomplete: jpeg failed", seen=True)
    assert marked.flags == "zero-gradient"
    assert marked.reason == "incomplete: jpeg failed"
    assert marked.is_seen
    assert only(replaced_by="hop").reason == "by hop, because the scores are coarse"
    by_generator = only("worst_generator_accuracy")
    assert by_generator.worst_generator == "sd"
    assert by_generator.images is None


def test_a_number_is_shown_as_it_is_and_colours_have_two_ends() -> None:
    loss = MetricSpec(name="loss", unit="number", chance=0.693, is_bad_when_high=True)
    assert [loss.text(value) for value in (1.5, -0.25)] == ["1.500", "-0.250"]
    assert [shade(loss, value) for value in (1.5, 0.693, 0.0, -1.0)] == [0.0, 0.0, 1.0, 1.0]
    correlation = MetricSpec(name="correlation", unit="number", chance=0.0)
    assert [shade(correlation, value) for value in (-0.5, 0.0, 0.5, 1.0)] == [0.0, 0.0, 0.5, 1.0]


def test_a_missing_value_has_a_word_and_a_reason() -> None:
    failed: dict[str, object] = {"mode": "static", "attack": "jpeg", "status": "error: no memory"}
    heat = heatmap(results(CLEAN | NUMBERS, failed))
    clean, jpeg = heat.cells["accuracy"]["both"][0]
    assert clean.shade == 0.5
    assert jpeg == HeatCell(text="error", reason="error: no memory")
    assert heat.cells["accuracy"]["framing"][0][0].text == "not part of this run"
    dumped = heat.dump()
    assert json.loads(json.dumps(dumped)) == dumped
    assert dumped["cells"]["accuracy"]["both"][0][1] == {
        "text": "error",
        "reason": "error: no memory",
    }
    assert [column["mode"] for column in dumped["columns"]] == ["clean", "static"]
