"""The page's plots, as SVG that takes the page's colours."""

from robustbench_aigi.report.html.plots.drawing import Plot
from robustbench_aigi.report.html.plots.recognition import recall_by_generator, roc_curves
from robustbench_aigi.report.html.plots.robustness import (
    accuracy_by_cost,
    accuracy_by_eps,
    smallest_changes,
)
from robustbench_aigi.report.run_results import RunResults

__all__ = ["Plot", "plots"]


def plots(finished: RunResults) -> list[Plot]:
    """Return every plot that the runs have numbers for.

    Args:
        finished: of one run or several.
    """
    matrix = finished.matrix
    cells = finished.cells
    suite = finished.facts.get("suite", {}).get("attacks", [])
    if not cells:
        return []
    made = (
        accuracy_by_eps(matrix, suite),
        smallest_changes(matrix, cells, suite),
        recall_by_generator(matrix, cells),
        roc_curves(matrix, cells),
        accuracy_by_cost(matrix),
    )
    return [plot for plot in made if plot is not None]
