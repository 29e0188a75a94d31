"""The matrix of a run: a DataFrame in long form, with a heat map for notebooks."""

from typing import Any

import pandas as pd
from pandas.io.formats.style import Styler

from robustbench_aigi.errors import DataError

CHANCE_PERCENT = 50
"""Accuracy of guessing, the bad end of the heat map's colours."""


class MatrixFrame(pd.DataFrame):
    """One row per detector, mode, attack and direction; columns as in ``evaluation.columns``."""

    @property
    def _constructor(self) -> type["MatrixFrame"]:
        return type(self)

    def cell(
        self, detector: str, attack: str, mode: str, direction: str = "both"
    ) -> "pd.Series[Any]":
        """Return one row.

        Args:
            detector: its name in the matrix.
            attack: id of the suite's row, ``clean`` or ``worst-case``.
            mode: ``clean``, ``static``, ``transfer`` or ``white-box``.
            direction: ``evasion``, ``framing`` or ``both``.

        Raises:
            DataError: there is no such row; the message lists those that there are.
        """
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
        """Return one row per detector and one column per (mode, attack) pair.

        Args:
            metric: a column of the matrix.
            direction: ``evasion``, ``framing`` or ``both``.
        """
        part = pd.DataFrame(self[(self["direction"] == direction) & self["mode"].notna()])
        pairs = list(dict.fromkeys(zip(part["mode"], part["attack"], strict=True)))
        table = part.pivot(index="detector", columns=["mode", "attack"], values=metric)
        names = list(dict.fromkeys(self["detector"]))
        return table.reindex(
            index=names, columns=pd.MultiIndex.from_tuples(pairs, names=["mode", "attack"])
        )

    @property
    def style(self) -> Styler:
        """Accuracies in percent as a heat map from chance to 100, for a notebook."""
        shown = (100 * self.wide()).style.format("{:.1f}", na_rep="n/a")
        return shown.background_gradient(cmap="RdYlBu", vmin=CHANCE_PERCENT, vmax=100, axis=None)
