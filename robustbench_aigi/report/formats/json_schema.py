"""The schema of ``matrix.json``."""

import json
from typing import final

from robustbench_aigi.report.formats.base import ReportFormat, report_formats
from robustbench_aigi.report.run_results import RunResults
from robustbench_aigi.report.schema import MatrixFile


@report_formats.add("schema")
@final
class JSONSchema(ReportFormat):
    """JSON Schema of ``matrix.json``, the same for all runs."""

    def render(self, results: RunResults) -> str:
        """Return the schema; ``results`` have no influence on it."""
        return json.dumps(MatrixFile.model_json_schema(by_alias=True), indent=1) + "\n"
