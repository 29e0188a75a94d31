"""C10: whatever is in a name, a Markdown table keeps its columns."""

import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustbench_aigi.data.audit.write import to_table
from robustbench_aigi.evaluation.columns import COLUMN_NAMES
from robustbench_aigi.evaluation.cost_text import to_text
from robustbench_aigi.io.markdown import escaped, table_head, table_row
from robustbench_aigi.report import Matrix, RunResults, to_markdown
from robustbench_aigi.report import compare as comparison
from robustbench_aigi.report.leaderboard import boards
from robustbench_aigi.report.leaderboard import to_markdown as board_markdown
from robustbench_aigi.report.tables import write_tables

ODD = "a|b\n`c` \\| d"
BARS = re.compile(r"(?<!\\)(?:\\\\)*\|")
"""A bar that ends a cell: one with an even number of backslashes before it."""


def columns(line: str) -> int:
    return len(BARS.findall(line)) - 1


def tables(text: str) -> list[list[str]]:
    """The tables of a Markdown text, in lines."""
    return [part.splitlines() for part in re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)]


def check(text: str) -> None:
    found = tables(text)
    assert found, text
    for lines in found:
        assert len({columns(line) for line in lines}) == 1, lines
    assert r"a\|b" in text


def matrix() -> Matrix:
    row = {
        "detector": ODD,
        "mode": "clean",
        "attack": "clean",
        "direction": "both",
        "status": "ok",
        "n": 4,
    }
    numbers = {"accuracy": 0.5, "low": 0.1, "high": 0.9}
    rows = [row | numbers, row | numbers | {"mode": "white-box", "attack": "x|y"}]
    rows += [row | numbers | {"mode": "transfer", "attack": f"pgd from {ODD}"}]
    return Matrix(pd.DataFrame(rows, columns=list(COLUMN_NAMES)))


def test_every_table_keeps_its_columns(tmp_path: Path) -> None:
    check(to_markdown(matrix()))
    write_tables(RunResults(matrix()), tmp_path)
    check((tmp_path / "matrix.md").read_text())
    check("\n\n".join(board_markdown(board) for board in boards(tmp_path)))
    check(to_table(pd.DataFrame({"name": [ODD], "share": [0.5]})))
    change = {
        "detector": ODD,
        "mode": "clean",
        "attack": "clean",
        "direction": "both",
        "accuracy_before": 0.5,
        "accuracy": 0.25,
        "lost": 1,
        "won": 0,
        "p_holm": 0.01,
        "verdict": "regression",
    }
    check(comparison.to_markdown(pd.DataFrame([change])))
    cell = {
        "detector": ODD,
        "mode": "clean",
        "attack": "clean",
        "passes": 1.0,
        "seconds": 1.0,
        "megabytes": 1.0,
        "memory": 1e9,
        "service": "",
    }
    check(to_text(pd.DataFrame([cell]), 1, {ODD: 1}))


@given(st.text())
def test_a_cell_is_one_line_without_a_bar_of_its_own(text: str) -> None:
    line = table_row(["before", text, "after"])
    assert len(line.splitlines()) == 1
    assert columns(line) == 3
    assert re.sub(r"\\(.)", r"\1", escaped(text)) == " ".join(text.split())


@pytest.mark.parametrize("name", ["tinyvit-5m", "98.0 [97.1, 98.9] (flagged)", "my_model*"])
def test_usual_cells_are_left_as_they_are(name: str) -> None:
    assert escaped(name) == name
    assert table_head([name, "n"], numbers=1) == [f"| {name} | n |", "|---|---:|"]
