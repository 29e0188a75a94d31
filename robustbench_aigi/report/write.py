"""All forms of a report at once."""

from pathlib import Path

from robustbench_aigi.report.finished import Finished
from robustbench_aigi.report.html import write_html
from robustbench_aigi.report.tables import write_tables


def write_report(finished: Finished, out: Path, policy: str | None = None) -> None:
    """Write ``matrix.csv``, ``matrix.json``, ``matrix.md``, ``generators.csv`` and ``report.html`` to ``out``.

    Args:
        policy: a gate's, whose verdict stands first on the page.
    """
    write_tables(finished, out)
    write_html(finished, out / "report.html", policy)
