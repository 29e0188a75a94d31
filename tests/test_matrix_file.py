"""The matrix in memory and as it is read again: the same numbers, names and reports."""

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.columns import COLUMN_NAMES, COLUMN_TYPES
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.report import RunResults, read_matrix, write_report
from robustbench_aigi.report.matrix_file import as_stored, read_csv, records_of, to_csv

NAMES = ("NA", "007", "1e5", "null", "True", 'a "b", c', "nan ", "#1")
"""Names of detectors that a reader of CSV may take for something else."""
FILES = ("matrix.csv", "matrix.json", "matrix.md", "generators.csv", "report.html")


def frame(*accuracies: float) -> MatrixFrame:
    """Two rows per detector, with accuracies that are not rounded."""
    rows: list[dict[str, object]] = []
    for name, accuracy in zip(NAMES, accuracies, strict=False):
        row: dict[str, object] = {"detector": name, "status": "ok", "direction": "both", "n": 7}
        numbers = {"accuracy": accuracy, "low": accuracy / 3, "high": 1.0, "mean_forwards": 1e4 / 7}
        rows.append(row | {"mode": "clean", "attack": "clean"} | numbers)
        gone = {"status": "error: NA\n of memory", "accuracy": None, "seen": True}
        rows.append(row | {"mode": "static", "attack": "NA"} | gone)
    return MatrixFrame(pd.DataFrame(rows, columns=list(COLUMN_NAMES)).astype(COLUMN_TYPES))


def test_reports_from_memory_and_from_files_are_the_same(tmp_path: Path) -> None:
    for name in ("first", "again"):
        (tmp_path / name).mkdir()
    matrix = frame(*(place / 7 for place in range(len(NAMES))))
    write_report(RunResults(matrix), tmp_path / "first")
    read = read_matrix(tmp_path / "first")
    assert list(dict.fromkeys(read["detector"])) == list(NAMES)
    write_report(RunResults(read), tmp_path / "again")
    for file in FILES:
        assert (tmp_path / "first" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=len(NAMES)))
def test_numbers_are_read_as_they_were_stored(
    tmp_path_factory: pytest.TempPathFactory, accuracies: list[float]
) -> None:
    path = tmp_path_factory.mktemp("matrix") / "matrix.csv"
    stored = as_stored(frame(*accuracies))
    path.write_text(to_csv(stored))
    read = read_csv(path)
    assert records_of(read) == records_of(stored)
    assert records_of(as_stored(read)) == records_of(stored)
    assert {type(value) for row in records_of(read) for value in row.values()} <= {
        str,
        int,
        float,
        bool,
        type(None),
    }


@pytest.mark.parametrize("value", ["inf", "1.5", "-0.1", "high"])
def test_an_accuracy_that_is_no_share_is_found(value: str, tmp_path: Path) -> None:
    table = pd.DataFrame(as_stored(frame(0.5))).astype({"accuracy": object})
    table.loc[0, "accuracy"] = value
    (tmp_path / "matrix.csv").write_text(table.to_csv(index=False))
    with pytest.raises(DataError, match="accuracy"):
        read_matrix(tmp_path)
