"""The worst cases in the fields of RobustBench."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import final

import pandas as pd

from robustbench_aigi.report.formats.base import ReportFormat, report_formats
from robustbench_aigi.report.run_results import RunResults

CELL_OF_FIELD: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "clean_acc": ("clean", "clean"),
        "reported": ("static", "worst-case"),
        "robust_acc": ("white-box", "worst-case"),
    }
)
"""Field of an entry to the mode and attack of the cell whose accuracy it holds."""


@report_formats.add("robustbench")
@final
class RobustBench(ReportFormat):
    """JSON with RobustBench's fields, one entry per detector: clean accuracy and worst cases."""

    def render(self, results: RunResults) -> str:
        """Return the entries of ``results`` by detector, accuracies in percent as text."""
        names = dict.fromkeys(results.matrix["detector"])
        entries = {str(name): _entry(name, results) for name in names}
        return json.dumps(entries, indent=1) + "\n"


def _entry(detector: str, results: RunResults) -> dict[str, str | None]:
    matrix = results.matrix
    rows = matrix[(matrix["detector"] == detector) & (matrix["direction"] == "both")]
    accuracies = rows.set_index(["mode", "attack"])["accuracy"]
    card = results.facts.get("detectors", {}).get(detector, {})
    suite = results.facts.get("suite", {}).get("name", "unknown")
    return {
        "name": card.get("name", detector),
        "link": card.get("source", ""),
        "dataset": results.facts.get("data", {}).get("name", "unknown"),
        "threat_model": f"worst case of the suite {suite}",
        "additional_data": card.get("trained_on", ""),
        **{field: _percent(accuracies.get(cell)) for field, cell in CELL_OF_FIELD.items()},
    }


def _percent(accuracy: float | None) -> str | None:
    return None if accuracy is None or pd.isna(accuracy) else f"{100 * accuracy:.2f}"
