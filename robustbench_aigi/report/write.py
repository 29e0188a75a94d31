"""All forms of a report at once."""

from pathlib import Path

import pandas as pd

from robustbench_aigi.report.html import write_html
from robustbench_aigi.report.tables import read_matrix, write_tables


def write_report(matrix: pd.DataFrame, out: Path, policy: str | None = None) -> None:
    """Write ``matrix.csv``, ``matrix.json``, ``matrix.md`` and ``report.html`` to the run folder ``out``.

    Args:
        policy: a gate's, whose verdict stands first on the page.
    """
    write_tables(matrix, out)
    write_html(read_matrix(out), out / "report.html", run=out, policy=policy)
