"""Formats that ``report --format`` prints, one file each: adding a file registers its format.

CSV, JSON, Markdown and HTML are written beside the run. Other packages add formats through the
entry point group ``robustbench_aigi.report.formats``, or are named as ``module:Class``.
"""

from robustbench_aigi.report.formats.base import ReportFormat, render, report_formats

__all__ = ["ReportFormat", "render", "report_formats"]
