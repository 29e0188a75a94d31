"""From a matrix to what people read: CSV, Markdown, JSON and one self-contained HTML page."""

from robustbench_aigi.report.html import write_html
from robustbench_aigi.report.tables import Matrix, read_matrix, to_markdown, write_tables
from robustbench_aigi.report.write import write_report

__all__ = ["Matrix", "read_matrix", "to_markdown", "write_html", "write_report", "write_tables"]
