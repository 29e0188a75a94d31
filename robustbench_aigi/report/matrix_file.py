"""The matrix as its files hold it: rounded, with the types of its columns."""

from pathlib import Path

import pandas as pd

from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.columns import COLUMN_NAMES, COLUMN_TYPES, MATRIX_COLUMNS
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.io.files import describe_read_errors
from robustbench_aigi.report.schema import SCHEMA_VERSION, MatrixFile

DECIMAL_PLACES = 6
"""Decimal places of numbers in ``matrix.csv`` and ``matrix.json``."""
READ_TYPES = {column.name: object for column in MATRIX_COLUMNS if column.kind is str} | COLUMN_TYPES
"""pandas types that a file is read with: a detector called ``007`` or ``NA`` is text."""


def as_stored(matrix: pd.DataFrame) -> MatrixFrame:
    """Return the matrix as it is read again from its file, so that both give the same reports.

    Args:
        matrix: of a run in memory.
    """
    types = {name: kind for name, kind in COLUMN_TYPES.items() if name in matrix}
    return MatrixFrame(matrix.round(DECIMAL_PLACES).astype(types))


def records_of(matrix: pd.DataFrame) -> list[dict[str, object]]:
    """Return the rows with plain Python values, None where there is none.

    Args:
        matrix: whole or in part.
    """
    plain = matrix.astype(object)
    return [
        {str(name): value for name, value in row.items()}
        for row in plain.where(matrix.notna(), None).to_dict("records")
    ]


def to_csv(table: pd.DataFrame) -> str:
    """Return a table as CSV, with :data:`DECIMAL_PLACES`.

    Args:
        table: the matrix, or another table of a report.
    """
    return table.to_csv(index=False, float_format=f"%.{DECIMAL_PLACES}f", lineterminator="\n")


def read_csv(path: Path) -> MatrixFrame:
    """Read ``matrix.csv``.

    Args:
        path: of the file.

    Raises:
        DataError: the file is damaged, or does not fit the schema of the matrix.
    """
    with describe_read_errors(path):
        table = pd.read_csv(
            path,
            dtype=READ_TYPES,
            keep_default_na=False,
            na_values=[""],
        )
        if tuple(table.columns) != COLUMN_NAMES:
            raise DataError(
                f"{path} has other columns than this version writes. Run `evaluate` again."
            )
        MatrixFile.model_validate({"schema": SCHEMA_VERSION, "rows": records_of(table)})
    return MatrixFrame(table)
