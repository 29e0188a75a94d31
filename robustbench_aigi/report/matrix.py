"""The matrix: a DataFrame in long form, with a heat map for notebooks and a page for everyone
else.
"""

from pathlib import Path
from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from robustbench_aigi.errors import DataError

CHANCE_PERCENT = 50
"""Accuracy of guessing: the bad end of the heat map's colours, which what lies below it has too."""


class Matrix(pd.DataFrame):
    """A matrix in long form: a row per detector, mode, attack and direction. See
    ``evaluation.metrics.COLUMNS``.
    """

    @property
    def _constructor(self) -> type["Matrix"]:
        return Matrix

    def cell(
        self, detector: str, attack: str, mode: str, direction: str = "both"
    ) -> "pd.Series[Any]":
        """One row. Raises ``DataError`` naming what there is."""
        found = self[
            (self["detector"] == detector)
            & (self["attack"] == attack)
            & (self["mode"] == mode)
            & (self["direction"] == direction)
        ]
        if len(found) != 1:
            known = sorted(
                {
                    f"{d}/{m}/{a}"
                    for d, m, a in zip(self["detector"], self["mode"], self["attack"], strict=True)
                }
            )
            raise DataError(
                f"no cell {detector}/{mode}/{attack} ({direction}). There are: {', '.join(known)}."
            )
        return found.iloc[0]

    def wide(self, metric: str = "accuracy", direction: str = "both") -> pd.DataFrame:
        """A row a detector and a column a (mode, attack) pair, of one metric in one direction."""
        part = pd.DataFrame(self[(self["direction"] == direction) & self["mode"].notna()])
        pairs = list(dict.fromkeys(zip(part["mode"], part["attack"], strict=True)))
        table = part.pivot(index="detector", columns=["mode", "attack"], values=metric)
        names = list(dict.fromkeys(self["detector"]))
        return table.reindex(
            index=names, columns=pd.MultiIndex.from_tuples(pairs, names=["mode", "attack"])
        )

    @property
    def style(self) -> Styler:
        """Accuracies in percent as a heat map from chance to 100, both directions together, for a
        notebook.
        """
        shown = (100 * self.wide()).style.format("{:.1f}", na_rep="n/a")
        return shown.background_gradient(cmap="RdYlBu", vmin=CHANCE_PERCENT, vmax=100, axis=None)

    def to_html(self, buf: Any = None, **options: Any) -> Any:
        """Write the report's page to a path, without the plots and pictures that need a run; else
        as in pandas.
        """
        if not isinstance(buf, str | Path) or options:
            return super().to_html(buf, **options)
        from robustbench_aigi.report.html.page import write_html
        from robustbench_aigi.report.run_results import RunResults

        return write_html(RunResults(self), Path(buf))
