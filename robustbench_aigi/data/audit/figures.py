"""Pictures of an audit: histograms, shares of categories, and twins side by side."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_aigi.data.audit.comparison import STATISTIC_KINDS
from robustbench_aigi.data.audit.effects import frequent_values
from robustbench_aigi.data.audit.image_statistics import STORAGE_CATEGORIES
from robustbench_aigi.data.drawing import CLASS_WORDS
from robustbench_aigi.data.plusplus.contact_sheets import SheetCell
from robustbench_aigi.data.reading import read_pixels

CLASS_COLOURS = {0: "tab:blue", 1: "tab:orange"}
MAX_LABEL = 40
"""Letters of a category's value beside its bar."""


def histograms(table: pd.DataFrame) -> Figure:
    """Draw a histogram per class of every number.

    Args:
        table: statistics beside ``label``, one row per image.
    """
    names = [name for name in STATISTIC_KINDS if name not in STORAGE_CATEGORIES]
    figure = Figure(figsize=(12, 9))
    figure.subplots_adjust(0.05, 0.04, 0.98, 0.95, hspace=0.4)
    for number, name in enumerate(names):
        axes = figure.add_subplot(-(-len(names) // 3), 3, number + 1)
        axes.set_title(name)
        _draw_histogram(axes, table[name].dropna(), table["label"])
    return figure


def category_bars(table: pd.DataFrame) -> Figure:
    """Draw the share of each value of every category, per class.

    Args:
        table: statistics beside ``label``, one row per image.
    """
    figure = Figure(figsize=(14, 9))
    figure.subplots_adjust(0.2, 0.04, 0.98, 0.95, wspace=0.6, hspace=0.4)
    for number, name in enumerate(STORAGE_CATEGORIES):
        axes: Axes = figure.add_subplot(-(-len(STORAGE_CATEGORIES) // 2), 2, number + 1)
        values = frequent_values(table[name]).to_numpy()
        shares = pd.crosstab(values, table["label"].to_numpy(), normalize="columns")
        _draw_bars(axes, shares.loc[shares.max(axis=1).sort_values().index])
        axes.set_title(f"{name}: share of each class")
    return figure


def twin_cells(pairs: pd.DataFrame, rows: pd.DataFrame) -> list[SheetCell]:
    """Return the images of each pair of twins, for a contact sheet.

    Args:
        pairs: ``first`` and ``second`` (ids), one row per pair.
        rows: the manifest.
    """
    wanted = pd.unique(pd.concat([pairs["first"], pairs["second"]]))
    own = rows.drop_duplicates("id").set_index("id").loc[wanted].reset_index()
    pixels = dict(zip(own["id"], read_pixels(own), strict=True))
    words = {
        identity: f"{identity}, {CLASS_WORDS[int(label)]}"
        for identity, label in zip(own["id"], own["label"], strict=True)
    }
    return [
        SheetCell([pixels[first], pixels[second]], [words[first], words[second]])
        for first, second in zip(pairs["first"], pairs["second"], strict=True)
    ]


def _draw_histogram(axes: Axes, values: "pd.Series[float]", labels: "pd.Series[int]") -> None:
    if values.empty:
        axes.text(0.5, 0.5, "none here", ha="center")
        return
    low, high = np.quantile(values, [0.001, 0.999])
    margin = 0.5 if low == high else 0.0
    edges = np.linspace(low - margin, high + margin, 41)
    for label, colour in CLASS_COLOURS.items():
        own = values[labels.loc[values.index] == label].clip(low, high)
        shares = np.histogram(own, edges)[0] / max(1, len(own))
        axes.stairs(shares, edges, fill=True, alpha=0.55, color=colour, label=CLASS_WORDS[label])
    axes.legend()


def _draw_bars(axes: Axes, shares: pd.DataFrame) -> None:
    places = np.arange(len(shares))
    for number, (label, colour) in enumerate(CLASS_COLOURS.items()):
        axes.barh(places + 0.4 * number, shares[label], 0.4, color=colour, label=CLASS_WORDS[label])
    texts = [str(value)[:MAX_LABEL].replace("$", r"\$") for value in shares.index]
    axes.set_yticks(places + 0.2, texts, fontsize=7)
    axes.set_xlim(0, 1)
    axes.legend()
