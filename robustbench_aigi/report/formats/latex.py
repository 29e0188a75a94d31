"""The accuracies as a table for a paper."""

from typing import final

import pandas as pd

from robustbench_aigi.report.formats.base import ReportFormat, report_formats
from robustbench_aigi.report.run_results import RunResults
from robustbench_aigi.report.tables import columns_of


@report_formats.add("latex")
@final
class LaTeX(ReportFormat):
    """LaTeX table of accuracies in percent, both directions together; needs booktabs."""

    def render(self, results: RunResults) -> str:
        """Return a ``tabular`` of ``results``: one row per detector, no transfer."""
        matrix = results.matrix
        pairs = columns_of(matrix)
        part = matrix[matrix["direction"].isin(["both"]) | matrix["direction"].isna()]
        rows = {}
        for detector in dict.fromkeys(matrix["detector"]):
            own = (
                part[part["detector"] == detector]
                .drop_duplicates(["mode", "attack"])
                .set_index(["mode", "attack"])
            )
            accuracies = own["accuracy"]
            rows[detector] = [accuracies.get(pair, float("nan")) for pair in pairs]
        heads = [attack if mode == "clean" else f"{attack}, {mode}" for mode, attack in pairs]
        table = pd.DataFrame.from_dict(rows, orient="index", columns=heads)
        style = (100 * table).style.format(precision=1, na_rep="--")
        style = style.format_index(escape="latex", axis=0).format_index(escape="latex", axis=1)
        return str(style.to_latex(hrules=True, column_format="l" + "r" * len(pairs)))
