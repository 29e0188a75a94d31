"""The accuracies for the model card of a detector."""

from collections.abc import Iterator
from typing import Any, final

import pandas as pd
import yaml
from huggingface_hub import EvalResult
from huggingface_hub.repocard_data import eval_results_to_model_index

from robustbench_aigi.report.formats.base import ReportFormat, report_formats
from robustbench_aigi.report.run_results import RunResults


@report_formats.add("model-index")
@final
class ModelIndex(ReportFormat):
    """YAML for the head of a Hugging Face model card: ``model-index``, one entry per detector."""

    def render(self, results: RunResults) -> str:
        """Return the YAML block of ``results``, with both directions together."""
        matrix = results.matrix
        data = results.facts.get("data", {}).get("name", "unknown")
        suite = results.facts.get("suite", {}).get("name", "unknown")
        index: list[Any] = []
        for detector in dict.fromkeys(matrix["detector"]):
            own = matrix[
                (matrix["detector"] == detector)
                & (matrix["direction"] == "both")
                & matrix["accuracy"].notna()
            ]
            found = list(_eval_results(own, data, suite))
            if found:
                index += eval_results_to_model_index(str(detector), found)
        return str(yaml.safe_dump({"model-index": index}, sort_keys=False))


def _eval_results(own: pd.DataFrame, data: str, suite: str) -> Iterator[EvalResult]:
    for row in own.to_dict("records"):
        mode = "" if row["mode"] == "clean" else f", {row['mode']}"
        yield EvalResult(
            task_type="image-classification",
            dataset_type=data,
            dataset_name=data,
            metric_type="accuracy",
            metric_name=f"accuracy, {row['attack']}{mode}",
            metric_value=round(float(row["accuracy"]), 6),
            dataset_config=suite,
        )
