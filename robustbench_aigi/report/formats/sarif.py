"""Flags and gaps for tools of code scanning."""

import json
from collections.abc import Iterator
from typing import final

import pandas as pd

from robustbench_aigi.outcomes import CellStatus
from robustbench_aigi.report.formats.base import ReportFormat, report_formats
from robustbench_aigi.report.run_results import RunResults

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
CELL_KEY = ["detector", "mode", "attack"]


@report_formats.add("sarif")
@final
class SARIF(ReportFormat):
    """SARIF 2.1.0: one result per adequacy flag, and per cell that is not ``ok``."""

    def render(self, results: RunResults) -> str:
        """Return the SARIF log of ``results``; each place in it is ``matrix.csv``."""
        found = [*_flag_results(results), *_status_results(results)]
        rules = [{"id": kind} for kind in dict.fromkeys(str(result["ruleId"]) for result in found)]
        driver: dict[str, object] = {"name": "robustbench-aigi", "rules": rules}
        version = results.facts.get("versions", {}).get("robustbench-aigi", "")
        if version:
            driver["version"] = version
        log = {
            "$schema": SARIF_SCHEMA,
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "results": found}],
        }
        return json.dumps(log, indent=1) + "\n"


def _flag_results(results: RunResults) -> Iterator[dict[str, object]]:
    for flag in results.flags or []:
        subject = f"{flag.detector}, {flag.attack}" if flag.attack else flag.detector
        yield _result(flag.kind, "warning", f"{subject}: {flag.message}")


def _status_results(results: RunResults) -> Iterator[dict[str, object]]:
    matrix = results.matrix
    rows = matrix[matrix["status"] != CellStatus.OK].drop_duplicates(CELL_KEY)
    for row in rows.to_dict("records"):
        subject = ", ".join(str(row[key]) for key in CELL_KEY if pd.notna(row[key]))
        kind = str(row["status"]).partition(":")[0]
        level = "error" if kind == CellStatus.ERROR else "note"
        yield _result(kind, level, f"{subject}: {row['status']}")


def _result(rule: str, level: str, text: str) -> dict[str, object]:
    place = {"physicalLocation": {"artifactLocation": {"uri": "matrix.csv"}}}
    return {"ruleId": rule, "level": level, "message": {"text": text}, "locations": [place]}
