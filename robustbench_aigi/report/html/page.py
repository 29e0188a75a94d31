"""One self-contained page: the matrix as a heat map, and a gallery. It asks no other address for
anything.
"""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from robustbench_aigi.detectors.base import UNKNOWN_LICENCE
from robustbench_aigi.evaluation.columns import METRICS_BY_NAME
from robustbench_aigi.io.files import write_text
from robustbench_aigi.report.gate import judge, load_policy, verdict
from robustbench_aigi.report.html.gallery import Picture, gallery
from robustbench_aigi.report.html.headline import headlines
from robustbench_aigi.report.html.heatmap import HeatCell, HeatColumn, HeatMap, heatmap, shade
from robustbench_aigi.report.html.plots import plots
from robustbench_aigi.report.html.rendering import rendered
from robustbench_aigi.report.run_results import RunResults
from robustbench_aigi.report.tables import flag_lines, missing, note_lines, transfer_tables


def write_html(finished: RunResults, path: Path, policy: str | None = None) -> None:
    """Write the page; with plots, gallery and provenance where the matrix comes with its runs.

    Args:
        finished: of one run or several.
        path: of the page.
        policy: name or path of a release policy, whose verdict stands first; the suite's own if
            None, where the run has what it asks for.
    """
    matrix = finished.matrix
    facts = finished.facts
    heat = heatmap(finished)
    pictures = gallery(finished)
    page = rendered(
        "report.html",
        gate=_gate(policy, finished),
        headlines=headlines(matrix, facts, finished.flags or ()),
        heatmap=heat.dump(),
        pairs=[(column.mode, column.attack) for column in heat.columns if _is_shown(column)],
        rows=_accuracy_rows(heat),
        transfers={attack: _crossed(table) for attack, table in transfer_tables(matrix).items()},
        plots=plots(finished),
        pictures=_grouped(pictures),
        has_maps=any(picture.maps is not None for picture in pictures),
        flags=flag_lines(finished) if finished.runs else None,
        missing=missing(matrix),
        notes=note_lines(finished),
        licences=_licences(facts),
        facts=facts,
        provenance=json.dumps(facts, indent=2),
    )
    write_text(path, page)


def _gate(policy: str | None, finished: RunResults) -> dict[str, Any] | None:
    name = policy or finished.facts.get("suite", {}).get("policy")
    if name is None:
        return None
    rules = load_policy(name)
    if policy is None and not rules.attacks() <= set(finished.matrix["attack"].dropna()):
        return None
    found = judge(rules, finished)
    return {
        "policy": name,
        "verdict": verdict(found),
        "rules": [judgement._asdict() for judgement in found],
    }


def _is_shown(column: HeatColumn) -> bool:
    """Return whether the table for browsers without scripts has a column."""
    return column.mode != "transfer"


def _accuracy_rows(heat: HeatMap) -> list[tuple[str, list[HeatCell]]]:
    """Return the rows of the table for browsers without scripts."""
    shown = [place for place, column in enumerate(heat.columns) if _is_shown(column)]
    rows = zip(heat.detectors, heat.cells["accuracy"]["both"], strict=True)
    return [(name, [cells[place] for place in shown]) for name, cells in rows]


def _crossed(table: pd.DataFrame) -> tuple[list[str], list[tuple[str, list[HeatCell]]]]:
    """Return the columns and rows of a transfer matrix."""
    rows = [
        (str(detector), [_transfer_cell(float(value)) for value in row])
        for detector, row in table.iterrows()
    ]
    return [str(name) for name in table.columns], rows


def _transfer_cell(accuracy: float) -> HeatCell:
    if math.isnan(accuracy):
        return HeatCell(text="n/a")
    return HeatCell(
        text=f"{100 * accuracy:.1f}", shade=shade(METRICS_BY_NAME["accuracy"], accuracy)
    )


def _licences(facts: dict[str, Any]) -> list[str]:
    """A line for each detector that is not cleared for commercial use."""
    cards = {
        name: card
        for name, card in facts.get("detectors", {}).items()
        if not card.get("commercial", True)
    }
    return [_licence(name, card) for name, card in cards.items()]


def _licence(name: str, card: dict[str, Any]) -> str:
    stated = {
        word: str(card[field])
        for word, field in (("Weights", "weights_licence"), ("Base", "base_licence"))
    }
    if set(stated.values()) == {UNKNOWN_LICENCE}:
        return f"{name} is not cleared for commercial use: its card states no licence."
    return " ".join(
        [
            f"{name} is not for commercial use.",
            *(f"{word}: {text}." for word, text in stated.items()),
        ]
    )


def _grouped(pictures: list[Picture]) -> dict[str, list[Picture]]:
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.detector, []).append(picture)
    return groups
