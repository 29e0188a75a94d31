"""All forms of a report at once."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from robustbench_aigi.evaluation.columns import TYPES
from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.report.html.page import write_html
from robustbench_aigi.report.run_results import RunResults
from robustbench_aigi.report.tables import write_tables


def write_report(finished: RunResults, out: Path, policy: str | None = None) -> None:
    """Write ``matrix.csv``, ``matrix.json``, ``matrix.md``, ``generators.csv`` and ``report.html``
    to ``out``.

    Args:
        policy: a gate's, whose verdict stands first on the page; the suite's own if None.
    """
    write_tables(finished, out)
    as_read = MatrixFrame(
        pd.read_csv(out / "matrix.csv", dtype=TYPES)
    )  # so that the page is the same when written again
    write_html(replace(finished, matrix=as_read), out / "report.html", policy)
