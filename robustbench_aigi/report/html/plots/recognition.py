"""Plots of what a detector recognises: by generator, and by threshold."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from sklearn.metrics import roc_curve

from robustbench_aigi.evaluation.metrics import GENERATOR_COLUMNS, by_generator
from robustbench_aigi.evaluation.run_state import Tables
from robustbench_aigi.report.html.plots.drawing import (
    INK_COLOUR,
    Plot,
    coloured,
    draw_plot,
    shortened,
)

MAX_GENERATORS = 40
"""Generators in one plot; of more, those that are recognised least."""
MAX_LABEL = 34
"""Characters of a generator's name that are shown."""


def recall_by_generator(matrix: pd.DataFrame, cells: Tables) -> Plot | None:
    """Plot the recall of each generator's clean images, the lowest ones if there are many.

    Args:
        matrix: of the run.
        cells: its tables.
    """
    own = [key for key in cells if key[1] == "clean"]
    clean = {key[0]: by_generator(cells.numbers(key, GENERATOR_COLUMNS)) for key in own}
    drawn = coloured(matrix, clean)
    shares = pd.concat(
        [clean[name].set_index("generator")["accuracy"] for name, _ in drawn]
        or [pd.Series(dtype=float)]
    )
    worst = shares.groupby(level=0).mean().sort_values().index[:MAX_GENERATORS]
    generators = sorted(map(str, worst), reverse=True)  # from the bottom to the top
    if not generators:
        return None

    def draw(axes: Axes) -> None:
        width = 0.8 / len(drawn)
        for place, (name, colour) in enumerate(drawn):
            own = clean[name][clean[name]["generator"].isin(generators)]
            at = own["generator"].map(generators.index) - (place + 0.5) * width + 0.4
            ends = (own["accuracy"] - own["low"], own["high"] - own["accuracy"])
            error = 100 * np.stack(ends).clip(min=0)
            axes.barh(
                at,
                100 * own["accuracy"],
                width * 0.9,
                color=colour,
                label=shortened(name),
                xerr=error,
                ecolor=INK_COLOUR,
                error_kw={"elinewidth": 0.8},
            )
        axes.set(xlabel="recognised, %", xlim=(0, 105), ylim=(-0.6, len(generators) - 0.4))
        axes.set_yticks(range(len(generators)), [shortened(name, MAX_LABEL) for name in generators])

    about = "AI-generated images recognised, clean, by what made them; lines are 95% intervals."
    about += f" The {len(worst)} of {shares.index.nunique()} that are recognised least." * (
        shares.index.nunique() > len(worst)
    )
    return draw_plot(
        "Per generator", about, draw, height=1.6 + len(generators) * max(0.24, 0.13 * len(drawn))
    )


def roc_curves(matrix: pd.DataFrame, cells: Tables) -> Plot | None:
    """Plot the ROC of the clean images and of the static set's hardest attack.

    Args:
        matrix: of the run.
        cells: its tables.
    """
    columns = ("label", "logit", "fooled")
    clean_of = {key[0]: cells.numbers(key, columns) for key in cells if key[1] == "clean"}
    clean_of = {name: table for name, table in clean_of.items() if table["label"].nunique() == 2}
    if not clean_of:
        return None

    def draw(axes: Axes) -> None:
        for name, colour in coloured(matrix, clean_of):
            clean = clean_of[name]
            static = (cells.numbers(key, columns) for key in cells if key[:2] == (name, "static"))
            possible = (table for table in static if table["label"].nunique() == 2)
            hardest = min(
                possible, key=lambda table: float((~table["fooled"]).mean()), default=None
            )
            for table, style in ((clean, "-"), (hardest, ":")):
                if table is not None:
                    fpr, tpr, _ = roc_curve(table["label"], table["logit"])
                    label = shortened(name) if style == "-" else None
                    axes.plot(
                        100 * fpr,
                        100 * tpr,
                        style,
                        color=colour,
                        label=label,
                        drawstyle="steps-post",
                    )
        axes.set(xlabel="reals called AI-generated, %", ylabel="AI-generated recognised, %")

    return draw_plot(
        "ROC, clean and attacked",
        "Solid: clean images. Dotted: the static set's hardest attack.",
        draw,
    )
