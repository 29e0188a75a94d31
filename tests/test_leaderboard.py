"""The leaderboard: ranks by worst case, ties where intervals overlap, entries by adding a file."""

import json
import shutil
from pathlib import Path

import pytest

from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.columns import COLUMN_NAMES
from robustbench_aigi.report.leaderboard import boards, to_markdown, write_page
from tests.finished_run import detector, finished


def entry(name: str, worst: float, n: int = 1000, key: str = "k") -> str:
    """A matrix.json of one detector."""
    empty = dict.fromkeys(COLUMN_NAMES)
    spread = (worst * (1 - worst) / n) ** 0.5 * 1.96
    cells = [("clean", "clean", 0.95, 0.02), ("white-box", "worst-case", worst, spread)]
    rows = [
        {
            **empty,
            "detector": name,
            "mode": mode,
            "attack": attack,
            "direction": "both",
            "status": "ok",
            "n": n,
            "accuracy": share,
            "low": share - wide,
            "high": min(1, share + wide),
        }
        for mode, attack, share, wide in cells
    ]
    of = {"suite": "standard", "suite_version": 2, "data": "cifake", "data_key": key, "images": n}
    return json.dumps({"schema": 5, "of": of, "rows": rows})


def test_ranks_are_shared_where_intervals_overlap(tmp_path: Path) -> None:
    for name, worst in (("low", 0.1), ("first", 0.6), ("close", 0.59), ("middle", 0.4)):
        (tmp_path / f"{name}.json").write_text(entry(name, worst))
    (board,) = boards(tmp_path)
    assert [(e.rank, e.detector) for e in board.entries] == [
        (1, "first"),
        (1, "close"),
        (3, "middle"),
        (4, "low"),
    ]
    assert "| 1= | first |" in to_markdown(board)
    assert "| 3 | middle |" in to_markdown(board)
    (tmp_path / "best.json").write_text(entry("best", 0.9))
    assert [e.rank for e in boards(tmp_path)[0].entries] == [1, 2, 2, 4, 5]


def test_only_what_is_comparable_is_compared(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(entry("one", 0.5))
    (tmp_path / "b.json").write_text(entry("one", 0.6, key="other images"))
    assert [[e.rank for e in board.entries] for board in boards(tmp_path)] == [[1], [1]]
    (tmp_path / "c.json").write_text(entry("one", 0.7))  # one detector in two runs is two entries
    assert [[(e.rank, e.file) for e in board.entries] for board in boards(tmp_path)] == [
        [(1, "c.json"), (2, "a.json")],
        [(1, "b.json")],
    ]


def test_entries_are_checked_against_the_schema(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no matrix\.json"):
        boards(tmp_path)
    wrong = json.loads(entry("one", 0.5))
    wrong["rows"][0]["accuracy"] = 95.0
    (tmp_path / "a.json").write_text(json.dumps(wrong))
    with pytest.raises(
        DataError,
        match=r"a\.json does not fit the schema: rows\.0\.accuracy: .*less than or equal to 1",
    ):
        boards(tmp_path)


def test_runs_become_a_page(tmp_path: Path, tiny_recipe: str) -> None:
    finished(tmp_path / "runs" / "a", tiny_recipe, detector("good"))
    finished(tmp_path / "runs" / "b", tiny_recipe, detector("<b>reals only</b>", 1e6))
    (board,) = boards(tmp_path / "runs")
    assert {e.detector for e in board.entries} == {"good", "<b>reals only</b>"}
    assert board.of.title == "small version 1 on 24 images of tiny"
    write_page([board], tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "&lt;b&gt;reals only&lt;/b&gt;" in page
    assert "<script" not in page
    shutil.rmtree(tmp_path / "runs" / "b")
    assert len(boards(tmp_path / "runs")[0].entries) == 1
