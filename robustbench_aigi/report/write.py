"""All forms of a report at once."""

from pathlib import Path

import pandas as pd

from robustbench_aigi.report.html import write_html
from robustbench_aigi.report.tables import write_tables


def write_report(matrix: pd.DataFrame, out: Path) -> None:
    """Write ``matrix.csv``, ``matrix.json``, ``matrix.md`` and ``report.html`` to the run folder ``out``."""
    write_tables(matrix, out)
    write_html(matrix, out / "report.html", run=out)
