"""From a matrix to what people read: CSV, Markdown, JSON and one self-contained HTML page."""

from robustbench_aigi.report.html.page import write_html
from robustbench_aigi.report.matrix import Matrix
from robustbench_aigi.report.run_results import RunResults, read_matrix, read_runs
from robustbench_aigi.report.tables import to_markdown, write_tables
from robustbench_aigi.report.write import write_report

__all__ = [
    "Matrix",
    "RunResults",
    "read_matrix",
    "read_runs",
    "to_markdown",
    "write_html",
    "write_report",
    "write_tables",
]
