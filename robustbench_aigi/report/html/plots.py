"""The page's plots, as SVG that takes the page's colours; matplotlib draws them."""

import io
import re
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from sklearn.metrics import roc_curve

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.evaluation.metrics import by_generator
from robustbench_aigi.evaluation.run_state import Tables
from robustbench_aigi.report.run_results import RunResults

INK = "#123456"
"""Stands for the page's text colour until the SVG is written."""
COLOURS = ("#3b82c4", "#d9822b", "#2a9d6f", "#c2497a", "#8a63d2", "#7a8a2a", "#b5533c", "#4d8f9c")
MOST = 12
"""Most detectors in one plot: those first in the matrix."""
MAX_GENERATORS = 40
"""Generators in one plot; of more, those that are recognised least."""
MAX_LABEL = 34
"""Characters of a generator's name that are shown."""


class Plot(NamedTuple):
    """An SVG picture, with what it shows in words."""

    title: str
    about: str
    svg: str


def plots(finished: RunResults) -> list[Plot]:
    """Every plot that the runs have numbers for."""
    matrix, cells, suite = (
        finished.matrix,
        finished.cells,
        finished.facts.get("suite", {}).get("attacks", []),
    )
    if not cells:
        return []
    made = (
        _against_eps(matrix, suite),
        _smallest(matrix, cells, suite),
        _generators(matrix, cells),
        _roc(matrix, cells),
        _cost(matrix),
    )
    return [plot for plot in made if plot is not None]


def _against_eps(matrix: pd.DataFrame, suite: list[dict[str, Any]]) -> Plot | None:
    """Accuracy under white-box L-inf attacks by eps; at each eps the attack that leaves least."""
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
        for name, colour in _coloured(matrix):
            own = whole[whole["detector"] == name]
            axes.plot(
                own["eps"], 100 * own["accuracy"], marker="o", color=colour, label=_short(name)
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
    return _plot("Accuracy against eps", about, draw)


def _smallest(matrix: pd.DataFrame, cells: Tables, suite: list[dict[str, Any]]) -> Plot | None:
    """Share of fakes flipped by a change of at most so many levels, from an attack that seeks the
    smallest.
    """
    seeking = [
        row["id"]
        for row in suite
        if load_attack(row["attack"], **row.get("with", {})).minimises == "linf"
    ]
    found = {key[0]: cells[key] for key in cells if key[1] == "white-box" and key[2] in seeking}
    if not found:
        return None

    def draw(axes: Axes) -> None:
        for name, colour in _coloured(matrix, found):
            fakes = found[name][found[name]["label"] == 1]
            needed = np.sort(fakes.loc[fakes["fooled"], "linf"].to_numpy(dtype=float))
            shares = 100 * np.arange(1, len(needed) + 1) / max(1, len(fakes))
            axes.step(
                np.r_[0, needed], np.r_[0, shares], where="post", color=colour, label=_short(name)
            )
        axes.set(
            xlabel="smallest change that passes as real, grey levels (L-inf)",
            ylabel="fakes, %",
            ylim=(-2, 102),
        )
        axes.set_xscale("symlog", linthresh=1)
        axes.set_xticks([0, 1, 2, 4, 8, 16, 32, 64, 128, 255])
        axes.set_xlim(0, 255)

    return _plot(
        "Smallest flipping change",
        "Share of AI-generated images that a change of at most so many levels turns.",
        draw,
    )


def _generators(matrix: pd.DataFrame, cells: Tables) -> Plot | None:
    """Recall of each generator's clean images: a group of bars per generator, the worst ones if
    there are many.
    """
    clean = {key[0]: by_generator(cells[key]) for key in cells if key[1] == "clean"}
    drawn = _coloured(matrix, clean)
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
                label=_short(name),
                xerr=error,
                ecolor=INK,
                error_kw={"elinewidth": 0.8},
            )
        axes.set(xlabel="recognised, %", xlim=(0, 105), ylim=(-0.6, len(generators) - 0.4))
        axes.set_yticks(range(len(generators)), [_short(name, MAX_LABEL) for name in generators])

    about = "AI-generated images recognised, clean, by what made them; lines are 95% intervals."
    about += f" The {len(worst)} of {shares.index.nunique()} that are recognised least." * (
        shares.index.nunique() > len(worst)
    )
    return _plot(
        "Per generator", about, draw, height=1.6 + len(generators) * max(0.24, 0.13 * len(drawn))
    )


def _roc(matrix: pd.DataFrame, cells: Tables) -> Plot | None:
    """ROC of the clean images and of the static set's hardest attack."""
    clean_of = {key[0]: cells[key] for key in cells if key[1] == "clean"}
    clean_of = {name: table for name, table in clean_of.items() if table["label"].nunique() == 2}
    if not clean_of:
        return None

    def draw(axes: Axes) -> None:
        for name, colour in _coloured(matrix, clean_of):
            clean = clean_of[name]
            static = (cells[key] for key in cells if key[:2] == (name, "static"))
            possible = (table for table in static if table["label"].nunique() == 2)
            hardest = min(
                possible, key=lambda table: float((~table["fooled"]).mean()), default=None
            )
            for table, style in ((clean, "-"), (hardest, ":")):
                if table is not None:
                    fpr, tpr, _ = roc_curve(table["label"], table["logit"])
                    label = _short(name) if style == "-" else None
                    axes.plot(
                        100 * fpr,
                        100 * tpr,
                        style,
                        color=colour,
                        label=label,
                        drawstyle="steps-post",
                    )
        axes.set(xlabel="reals called AI-generated, %", ylabel="AI-generated recognised, %")

    return _plot(
        "ROC, clean and attacked",
        "Solid: clean images. Dotted: the static set's hardest attack.",
        draw,
    )


def _cost(matrix: pd.DataFrame) -> Plot | None:
    """What a white-box attack spends on an image against what it leaves."""
    part = matrix[
        (matrix["mode"] == "white-box")
        & (matrix["direction"] == "both")
        & matrix["accuracy"].notna()
    ]
    part = part[~part["attack"].str.startswith("worst-case")]
    if part.empty:
        return None

    def draw(axes: Axes) -> None:
        for name, colour in _coloured(matrix):
            own = part[part["detector"] == name]
            passes = own["mean_forwards"] + own["mean_backwards"]
            axes.scatter(passes, 100 * own["accuracy"], color=colour, label=_short(name), s=22)
        axes.set_xscale("log")
        axes.set(
            xlabel="passes per image (forward and backward)",
            ylabel="accuracy left, %",
            ylim=(-2, 102),
        )

    return _plot(
        "Cost against robustness",
        "Each dot is a white-box attack: what it spends, and what it leaves.",
        draw,
    )


def _plot(title: str, about: str, draw: Callable[[Axes], None], height: float = 3.7) -> Plot:
    """Draw a picture 6.2 inches wide and at least 3.7 high."""
    with _style():
        figure = Figure(figsize=(6.2, max(3.7, height)), layout="constrained")
        axes = figure.subplots()
        draw(axes)
        if axes.get_xscale() != "linear":
            axes.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
            axes.xaxis.set_minor_formatter(NullFormatter())
        if axes.get_legend_handles_labels()[0]:
            figure.legend(loc="outside lower center", ncols=3, fontsize=7, frameon=False)
        out = io.StringIO()
        figure.savefig(
            out, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    body = out.getvalue()
    svg = body[body.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"', r"\1\2", svg, count=1)
    return Plot(title, about, _own_ids(svg, title))


def _own_ids(svg: str, title: str) -> str:
    """Ids are one page's, not one picture's."""
    mark = re.sub(r"\W", "", title)
    svg = re.sub(r'\bid="', f'id="{mark}-', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{mark}-", svg)


@contextmanager
def _style() -> Iterator[None]:
    numbers: Any = {f"{part}.color": INK for part in ("text", "xtick", "ytick")}
    numbers |= {
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "legend.labelcolor": INK,
        "text.parse_math": False,
    }
    numbers |= {"svg.fonttype": "none", "svg.hashsalt": "robustbench-aigi", "font.size": 9}
    numbers |= {"axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(numbers):
        yield


def _coloured(matrix: pd.DataFrame, among: Container[str] | None = None) -> list[tuple[str, str]]:
    """The first detectors that have numbers, each with the colour that it has in every plot."""
    names = [
        str(name) for name in dict.fromkeys(matrix.loc[matrix["accuracy"].notna(), "detector"])
    ]
    colours = [(name, COLOURS[place % len(COLOURS)]) for place, name in enumerate(names)]
    return [(name, colour) for name, colour in colours if among is None or name in among][:MOST]


def _short(name: str, most: int = 28) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
