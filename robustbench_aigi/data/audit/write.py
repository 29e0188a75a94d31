"""The files of an audit: JSON for programs, Markdown and pictures for people."""

import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from robustbench_aigi.data.audit.comparison import CHEAT_BOUND, NO_DIFFERENCE
from robustbench_aigi.data.audit.figures import category_bars, histograms, twin_cells
from robustbench_aigi.data.audit.result import Audit
from robustbench_aigi.data.plusplus.contact_sheets import draw_sheet, save_png
from robustbench_aigi.io.files import atomic_write, write_text
from robustbench_aigi.io.markdown import escaped, table_head, table_row

SCHEMA_VERSION = 1
"""Of ``audit.json``."""
MAX_TWINS = 24
"""Pairs of twins that are drawn, and listed in Markdown."""


def write_audit(result: Audit, out: Path) -> None:
    """Write all of an audit, each file whole or not at all.

    The files are ``audit.json``, ``audit.md``, ``images.parquet`` (one row per image),
    ``statistics.png``, ``categories.png`` and, if there are any, ``twins.png``.

    Args:
        result: what was found.
        out: a folder.
    """
    table = result.measurements
    atomic_write(out / "images.parquet", lambda temporary: table.to_parquet(temporary, index=False))
    _save(histograms(table), out / "statistics.png")
    _save(category_bars(table), out / "categories.png")
    twins = result.tables["twins"].head(MAX_TWINS)
    if len(twins):
        cells = twin_cells(twins, result.rows)
        save_png(draw_sheet("twins across splits or classes", cells, columns=4), out / "twins.png")
    else:
        (out / "twins.png").unlink(missing_ok=True)
    write_text(out / "audit.md", _markdown(result))
    write_text(out / "audit.json", json.dumps(_facts(result), indent=1))


def to_table(frame: pd.DataFrame) -> str:
    """Return a table in Markdown, numbers with three digits.

    Args:
        frame: any table.
    """
    lines = table_head(frame.columns)
    for row in frame.itertuples(index=False):
        lines.append(
            table_row(f"{value:.3f}" if isinstance(value, float) else value for value in row)
        )
    return "\n".join(lines)


def _facts(result: Audit) -> dict[str, object]:
    return {
        "schema": SCHEMA_VERSION,
        "name": result.name,
        "images": result.images,
        "bound": CHEAT_BOUND,
        "passed": result.passed,
        "findings": [asdict(finding) for finding in result.findings],
        "tables": {
            name: json.loads(frame.to_json(orient="records", double_precision=6))
            for name, frame in result.tables.items()
        },
    }


def _markdown(result: Audit) -> str:
    statistics = result.tables["statistics"]
    twins = result.tables["twins"]
    whole = statistics.query("part == 'all'").drop(columns=["part", "n"])
    parts = statistics.query(f"part != 'all' and kind == 'stored' and verdict != '{NO_DIFFERENCE}'")
    findings = [
        f"- **{one.level}**, {one.check}: {' '.join(one.message.split())}"
        for one in result.findings
    ]
    text = [
        f"# Audit of {escaped(result.name)}: {'passed' if result.passed else 'failed'}",
        (
            f"{result.images} images. How files are stored is a cheat where the 95% interval of an"
            f" AUC, or of a classifier's balanced accuracy, lies beyond {CHEAT_BOUND:.0%}."
            " Intervals count source images, not their copies."
        ),
        "## Findings",
        "\n".join(findings),
        "## Classifiers of files, and of sums over pixels",
        to_table(result.tables["baselines"]),
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
        text += ["## Twins", "![twins](twins.png)", to_table(counts)]
        text.append(to_table(twins.head(MAX_TWINS)))
    return "\n\n".join(text) + "\n"


def _save(figure: Figure, path: Path) -> None:
    atomic_write(path, lambda temporary: figure.savefig(temporary, format="png", dpi=80))
