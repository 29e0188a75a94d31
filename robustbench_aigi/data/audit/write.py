"""What an audit leaves behind: JSON for programs, Markdown and pictures for people."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from robustbench_aigi.data.audit.comparison import BOUND, KINDS
from robustbench_aigi.data.audit.effects import common
from robustbench_aigi.data.audit.statistics import CATEGORIES
from robustbench_aigi.data.dataset import read_pixels
from robustbench_aigi.data.plusplus.contact_sheets import SheetCell, save, sheet
from robustbench_aigi.io.files import atomic_write, write_text
from robustbench_aigi.io.markdown import escaped, table_head, table_row

if TYPE_CHECKING:
    from robustbench_aigi.data.audit.judge import Audit

COLOURS = {0: "tab:blue", 1: "tab:orange"}
WORDS = {0: "real", 1: "AI-generated"}
PAIRS = 24
"""Twins that are drawn, and listed in Markdown."""


def write_audit(result: "Audit", table: pd.DataFrame, rows: pd.DataFrame, out: Path) -> None:
    """Write all of it to ``out``, each file whole or not at all.

    Args:
        table: statistics of every image. rows: the manifest, row for row with it.
    """
    atomic_write(out / "images.parquet", lambda temporary: table.to_parquet(temporary, index=False))
    _save(_histograms(table), out / "statistics.png")
    _save(_bars(table), out / "categories.png")
    twins = result.tables["twins"].head(PAIRS)
    if len(twins):
        save(
            sheet("twins across splits or classes", _twins(twins, rows), columns=4),
            out / "twins.png",
        )
    else:
        (out / "twins.png").unlink(missing_ok=True)
    write_text(out / "audit.md", _markdown(result))
    facts = {
        "schema": 1,
        "name": result.name,
        "images": result.images,
        "bound": BOUND,
        "passed": result.passed,
        "findings": [asdict(finding) for finding in result.findings],
        "tables": {
            name: json.loads(frame.to_json(orient="records", double_precision=6))
            for name, frame in result.tables.items()
        },
    }
    write_text(out / "audit.json", json.dumps(facts, indent=1))


def _markdown(result: "Audit") -> str:
    tables = result.tables
    twins = tables["twins"]
    whole = tables["statistics"].query("part == 'all'").drop(columns=["part", "n"])
    parts = tables["statistics"].query(
        "part != 'all' and kind == 'stored' and verdict != 'no difference seen'"
    )
    text = [
        f"# Audit of {escaped(result.name)}: {'passed' if result.passed else 'failed'}",
        (
            f"{result.images} images. How files are stored is a cheat where the 95% interval of an"
            f" AUC, or of a classifier's balanced accuracy, lies beyond {BOUND:.0%}. Intervals"
            " count source images, not their copies."
        ),
        "## Findings",
        "\n".join(
            f"- **{f.level}**, {f.check}: {' '.join(f.message.split())}" for f in result.findings
        ),
        "## Classifiers of files, and of sums over pixels",
        to_table(tables["baselines"]),
        "## Statistics by class",
        (
            "Stored: how files are made. Content: how much is in them. Pixels: what they sum up to."
            " ![histograms](statistics.png) ![shares](categories.png)"
        ),
        to_table(whole),
    ]
    if len(parts):
        text += ["## How files are stored, in each part", to_table(parts)]
    if len(twins):
        counts = twins.groupby(["kind", "splits", "classes"]).size().reset_index(name="pairs")
        text += ["## Twins", "![twins](twins.png)", to_table(counts), to_table(twins.head(PAIRS))]
    return "\n\n".join(text) + "\n"


def to_table(frame: pd.DataFrame) -> str:
    """A table in Markdown; numbers with three digits."""
    lines = table_head(frame.columns)
    for row in frame.itertuples(index=False):
        lines.append(
            table_row(f"{value:.3f}" if isinstance(value, float) else value for value in row)
        )
    return "\n".join(lines)


def _histograms(table: pd.DataFrame) -> Figure:
    names = [name for name in KINDS if name not in CATEGORIES]
    figure = Figure(figsize=(12, 9))
    figure.subplots_adjust(0.05, 0.04, 0.98, 0.95, hspace=0.4)
    for place, name in enumerate(names):
        axes = figure.add_subplot(-(-len(names) // 3), 3, place + 1)
        values = table[name].dropna()
        axes.set_title(name)
        if values.empty:
            axes.text(0.5, 0.5, "none here", ha="center")
            continue
        low, high = np.quantile(values, [0.001, 0.999])
        margin = 0.5 if low == high else 0.0
        edges = np.linspace(low - margin, high + margin, 41)
        for label, colour in COLOURS.items():
            own = values[table.loc[values.index, "label"] == label].clip(low, high)
            shares = np.histogram(own, edges)[0] / max(1, len(own))
            axes.stairs(shares, edges, fill=True, alpha=0.55, color=colour, label=WORDS[label])
        axes.legend()
    return figure


def _bars(table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(14, 9))
    figure.subplots_adjust(0.2, 0.04, 0.98, 0.95, wspace=0.6, hspace=0.4)
    for place, name in enumerate(CATEGORIES):
        axes: Axes = figure.add_subplot(-(-len(CATEGORIES) // 2), 2, place + 1)
        shares = pd.crosstab(
            common(table[name]).to_numpy(), table["label"].to_numpy(), normalize="columns"
        )
        shares = shares.loc[shares.max(axis=1).sort_values().index]
        at = np.arange(len(shares))
        for number, (label, colour) in enumerate(COLOURS.items()):
            axes.barh(at + 0.4 * number, shares[label], 0.4, color=colour, label=WORDS[label])
        axes.set_yticks(
            at + 0.2, [str(value)[:40].replace("$", r"\$") for value in shares.index], fontsize=7
        )
        axes.set_xlim(0, 1)
        axes.set_title(f"{name}: share of each class")
        axes.legend()
    return figure


def _twins(pairs: pd.DataFrame, rows: pd.DataFrame) -> list[SheetCell]:
    wanted = pd.unique(pd.concat([pairs["first"], pairs["second"]]))
    own = rows.drop_duplicates("id").set_index("id").loc[wanted].reset_index()
    pixels = dict(zip(own["id"], read_pixels(own), strict=True))
    about = own.set_index("id")
    return [
        SheetCell(
            [pixels[first], pixels[second]],
            [f"{i}, {WORDS[int(about.loc[i, 'label'])]}" for i in (first, second)],
        )
        for first, second in zip(pairs["first"], pairs["second"], strict=True)
    ]


def _save(figure: Figure, path: Path) -> None:
    atomic_write(path, lambda temporary: figure.savefig(temporary, format="png", dpi=80))
