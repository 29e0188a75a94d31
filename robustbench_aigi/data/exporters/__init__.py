"""Exports: a built ``++`` set in the formats that other tools read, one file per format."""

from robustbench_aigi.data.exporters.base import ExportFormat, export_formats
from robustbench_aigi.data.exporters.export import Exported, export

__all__ = ["ExportFormat", "Exported", "export", "export_formats"]
