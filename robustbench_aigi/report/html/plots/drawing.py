"""How a plot is drawn: as SVG that takes the page's colours; matplotlib draws it."""

import io
import re
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

INK_COLOUR = "#123456"
"""Stands for the page's text colour until the SVG is written."""
LINE_COLOURS = (
    "#3b82c4",
    "#d9822b",
    "#2a9d6f",
    "#c2497a",
    "#8a63d2",
    "#7a8a2a",
    "#b5533c",
    "#4d8f9c",
)
MAX_DETECTORS = 12
"""Detectors in one plot: those first in the matrix."""
MAX_NAME = 28
"""Characters of a detector's name that are shown."""
PLOT_WIDTH = 6.2
"""Inches."""
MIN_HEIGHT = 3.7
"""Inches."""


class Plot(NamedTuple):
    """An SVG picture.

    Attributes:
        title: what it is of.
        about: what it shows, in words.
        svg: the picture.
    """

    title: str
    about: str
    svg: str


def draw_plot(
    title: str, about: str, draw: Callable[[Axes], None], height: float = MIN_HEIGHT
) -> Plot:
    """Draw a picture.

    Args:
        title: what it is of.
        about: what it shows, in words.
        draw: draws into the axes.
        height: in inches, at least 3.7.
    """
    with _style():
        figure = Figure(figsize=(PLOT_WIDTH, max(MIN_HEIGHT, height)), layout="constrained")
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
    svg = body[body.index("<svg") :].replace(INK_COLOUR, "currentColor")
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"', r"\1\2", svg, count=1)
    return Plot(title, about, _own_ids(svg, title))


def _own_ids(svg: str, title: str) -> str:
    """Ids are one page's, not one picture's."""
    mark = re.sub(r"\W", "", title)
    svg = re.sub(r'\bid="', f'id="{mark}-', svg)
    return re.sub(r'(href="#|url\(#)', rf"\g<1>{mark}-", svg)


@contextmanager
def _style() -> Iterator[None]:
    numbers: Any = {f"{part}.color": INK_COLOUR for part in ("text", "xtick", "ytick")}
    numbers |= {
        "axes.edgecolor": INK_COLOUR,
        "axes.labelcolor": INK_COLOUR,
        "legend.labelcolor": INK_COLOUR,
        "text.parse_math": False,
    }
    numbers |= {"svg.fonttype": "none", "svg.hashsalt": "robustbench-aigi", "font.size": 9}
    numbers |= {"axes.spines.top": False, "axes.spines.right": False}
    with mpl.rc_context(numbers):
        yield


def coloured(matrix: pd.DataFrame, among: Container[str] | None = None) -> list[tuple[str, str]]:
    """Return the first detectors that have numbers, each with its colour in every plot.

    Args:
        matrix: of the run.
        among: the detectors that a plot can show; all if None.
    """
    names = [
        str(name) for name in dict.fromkeys(matrix.loc[matrix["accuracy"].notna(), "detector"])
    ]
    colours = [(name, LINE_COLOURS[place % len(LINE_COLOURS)]) for place, name in enumerate(names)]
    return [(name, colour) for name, colour in colours if among is None or name in among][
        :MAX_DETECTORS
    ]


def shortened(name: str, most: int = MAX_NAME) -> str:
    """Return a name, cut where it is too long.

    Args:
        name: of a detector or generator.
        most: characters that are shown.
    """
    return name if len(name) <= most else f"{name[: most - 1]}…"
