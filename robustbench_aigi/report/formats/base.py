"""Contract of a report format, and the registry of all of them."""

from abc import ABC, abstractmethod

from robustbench_aigi.registry import Registry
from robustbench_aigi.report.run_results import RunResults


class ReportFormat(ABC):
    """A format that other programs read the matrix in; it is text.

    Register a subclass with :data:`report_formats`, or by an entry point of the group
    ``robustbench_aigi.report.formats``. The first line of its docstring is its description.
    """

    @abstractmethod
    def render(self, results: RunResults) -> str:
        """Return the matrix as text that ends in a line break; equal results give equal text.

        Args:
            results: of one run or several. The matrix may have no row, numbers may be NaN, and the
                facts may be empty.
        """


report_formats: Registry[ReportFormat] = Registry("report format", __package__)


def render(name: str, results: RunResults) -> str:
    """Return the matrix as text in a named format.

    Args:
        name: in :data:`report_formats`, or ``module:Class``.
        results: of one run or several.

    Raises:
        UnknownNameError: there is no such format.
    """
    return report_formats.get(name)().render(results)
