"""All files of a report at once."""

from dataclasses import replace
from pathlib import Path

from robustbench_aigi.report.html.page import write_html
from robustbench_aigi.report.matrix_file import as_stored
from robustbench_aigi.report.run_results import RunResults
from robustbench_aigi.report.tables import write_tables


def write_report(finished: RunResults, out: Path, policy: str | None = None) -> None:
    """Write ``matrix.csv``, ``matrix.json``, ``matrix.md``, ``generators.csv`` and ``report.html``.

    The files are the same when they are written again from the run that holds them.

    Args:
        finished: results of one run or several.
        out: folder to write to.
        policy: name or path of a release policy, whose verdict stands first on the page; the
            suite's own if None.

    Raises:
        UserError: the policy, or a file of the run, is wrong.
    """
    stored = replace(finished, matrix=as_stored(finished.matrix))
    write_tables(stored, out)
    write_html(stored, out / "report.html", policy)
