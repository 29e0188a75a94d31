"""The matrix as users get it: with a page."""

from pathlib import Path
from typing import Any

from robustbench_aigi.evaluation.matrix import MatrixFrame
from robustbench_aigi.report.html.page import write_html
from robustbench_aigi.report.run_results import RunResults


class Matrix(MatrixFrame):
    """The matrix of a run; see :class:`~robustbench_aigi.evaluation.matrix.MatrixFrame`."""

    def to_html(self, buf: Any = None, **options: Any) -> Any:
        """Write the report's page to a path; with other arguments, do what pandas does.

        The plots and pictures need the folder of a run: ``robustbench-aigi report`` adds them.

        Args:
            buf: path of the page.
            options: of pandas.
        """
        if not isinstance(buf, str | Path) or options:
            return super().to_html(buf, **options)
        return write_html(RunResults(MatrixFrame(self)), Path(buf))
