"""The accuracies as a wide CSV table."""

from typing import final

from robustbench_aigi.report.formats.base import ReportFormat, report_formats
from robustbench_aigi.report.run_results import RunResults


@report_formats.add("wide")
@final
class Wide(ReportFormat):
    """CSV of accuracies: one row per detector, one column per mode, attack and direction."""

    def render(self, results: RunResults) -> str:
        """Return the CSV text of ``results``."""
        matrix = results.matrix
        there = matrix[matrix["accuracy"].notna()]
        columns = there["mode"] + "/" + there["attack"] + "/" + there["direction"]
        wide = there.assign(column=columns).pivot(
            index="detector", columns="column", values="accuracy"
        )
        wide = wide.reindex(
            index=list(dict.fromkeys(matrix["detector"])), columns=list(dict.fromkeys(columns))
        )
        return wide.to_csv(float_format="%.6f", lineterminator="\n")
