"""Plots of how much change and effort a detector withstands."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.evaluation.run_state import Tables
from robustbench_aigi.report.html.plots.drawing import Plot, coloured, draw_plot, shortened


def accuracy_by_eps(matrix: pd.DataFrame, suite: list[dict[str, Any]]) -> Plot | None:
    """Plot accuracy under white-box L-inf attacks by eps; at each eps the lowest one.

    Args:
        matrix: of the run.
        suite: its rows, as in ``run.json``.
    """
    levels = {
        row["id"]: load_attack(row["attack"], **row.get("with", {})).budget().linf for row in suite
    }
    part = matrix[
        (matrix["mode"] == "white-box")
        & (matrix["direction"] == "both")
        & matrix["accuracy"].notna()
    ]
    part = part.assign(eps=part["attack"].map(levels)).dropna(subset=["eps"])
    if part["eps"].nunique() < 2:
        return None
    clean = matrix[(matrix["mode"] == "clean") & (matrix["direction"] == "both")].assign(eps=0.0)
    whole = (
        pd.concat([clean, part])
        .sort_values("accuracy")
        .drop_duplicates(["detector", "eps"])
        .sort_values("eps")
    )

    def draw(axes: Axes) -> None:
        for name, colour in coloured(matrix):
            own = whole[whole["detector"] == name]
            axes.plot(
                own["eps"], 100 * own["accuracy"], marker="o", color=colour, label=shortened(name)
            )
            axes.fill_between(
                own["eps"].astype(float),
                100 * own["low"],
                100 * own["high"],
                color=colour,
                alpha=0.2,
            )
        axes.set(xlabel="eps, grey levels (L-inf)", ylabel="accuracy, %", ylim=(-2, 102))

    about = (
        "Accuracy against the size of the change, white-box, both directions; bands are 95%"
        " intervals."
    )
    return draw_plot("Accuracy against eps", about, draw)


def smallest_changes(
    matrix: pd.DataFrame, cells: Tables, suite: list[dict[str, Any]]
) -> Plot | None:
    """Plot the share of fakes that a change of at most so many grey levels flips.

    Args:
        matrix: of the run.
        cells: its tables; the plot is of white-box attacks that seek the smallest change.
        suite: its rows, as in ``run.json``.
    """
    seeking = [
        row["id"]
        for row in suite
        if load_attack(row["attack"], **row.get("with", {})).minimises == "linf"
    ]
    found = {
        key[0]: cells.numbers(key, ("label", "fooled", "linf"))
        for key in cells
        if key[1] == "white-box" and key[2] in seeking
    }
    if not found:
        return None

    def draw(axes: Axes) -> None:
        for name, colour in coloured(matrix, found):
            fakes = found[name][found[name]["label"] == 1]
            needed = np.sort(fakes.loc[fakes["fooled"], "linf"].to_numpy(dtype=float))
            shares = 100 * np.arange(1, len(needed) + 1) / max(1, len(fakes))
            axes.step(
                np.r_[0, needed],
                np.r_[0, shares],
                where="post",
                color=colour,
                label=shortened(name),
            )
        axes.set(
            xlabel="smallest change that passes as real, grey levels (L-inf)",
            ylabel="fakes, %",
            ylim=(-2, 102),
        )
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks([0, 1, 2, 4, 8, 16, 32, 64, 128, 255])
        axes.set_xlim(0, 255)

    return draw_plot(
        "Smallest flipping change",
        "Share of AI-generated images that a change of at most so many levels turns.",
        draw,
    )


def accuracy_by_cost(matrix: pd.DataFrame) -> Plot | None:
    """Plot what each white-box attack spends on an image against the accuracy that it leaves.

    Args:
        matrix: of the run.
    """
    part = matrix[
        (matrix["mode"] == "white-box")
        & (matrix["direction"] == "both")
        & matrix["accuracy"].notna()
    ]
    part = part[~part["attack"].str.startswith("worst-case")]
    if part.empty:
        return None

    def draw(axes: Axes) -> None:
        for name, colour in coloured(matrix):
            own = part[part["detector"] == name]
            passes = own["mean_forwards"] + own["mean_backwards"]
            axes.scatter(passes, 100 * own["accuracy"], color=colour, label=shortened(name), s=22)
        axes.set_xscale("log")
        axes.set(
            xlabel="passes per image (forward and backward)",
            ylabel="accuracy left, %",
            ylim=(-2, 102),
        )

    return draw_plot(
        "Cost against robustness",
        "Each dot is a white-box attack: what it spends, and what it leaves.",
        draw,
    )
