"""One self-contained page: the matrix as a heat map, and a gallery. It asks no other address for anything."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from robustbench_aigi.evaluation.adequacy import read_flags
from robustbench_aigi.files import write_text
from robustbench_aigi.report.pictures import Picture, gallery
from robustbench_aigi.report.tables import absence, columns_of, flag_lines, missing, transfer_tables

DIRECTIONS = {
    "both": "Both directions together",
    "evasion": "Evasion: AI-generated images made to pass as real",
    "framing": "Framing: real images made to look AI-generated",
}


def write_html(matrix: pd.DataFrame, path: Path, run: Path | None = None) -> None:
    """Write the page to ``path``; with ``run``, the folder of the run, also its gallery and provenance."""
    environment = Environment(
        loader=PackageLoader("robustbench_aigi.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    pictures = gallery(run) if run is not None and (run / "plusplus" / "manifest.parquet").is_file() else []
    flags = read_flags(run) if run is not None else None
    facts = json.loads((run / "run.json").read_text()) if run is not None and (run / "run.json").is_file() else {}
    page = environment.get_template("report.html").render(
        tables=[(title, *_table(matrix, direction)) for direction, title in DIRECTIONS.items()],
        transfers={attack: _crossed(table) for attack, table in transfer_tables(matrix).items()},
        sentences=_sentences(matrix),
        pictures=_grouped(pictures),
        flags=flag_lines(flags) if flags is not None else None,
        missing=missing(matrix),
        licences=_licences(facts),
        facts=facts,
        provenance=json.dumps(facts, indent=2),
    )
    write_text(path, page)


def _table(
    matrix: pd.DataFrame, direction: str
) -> tuple[list[tuple[str, str]], list[tuple[str, list[dict[str, str]]]]]:
    pairs = columns_of(matrix)
    part = matrix[matrix["direction"].isin([direction]) | matrix["direction"].isna()]
    part = part.set_index(["detector", "mode", "attack"])
    rows = []
    for detector in dict.fromkeys(matrix["detector"]):
        cells = [_cell(part.loc[[(detector, *p)]].iloc[0]) if (detector, *p) in part.index else _empty() for p in pairs]
        rows.append((detector, cells))
    return pairs, rows


def _cell(row: "pd.Series[Any]") -> dict[str, str]:
    accuracy, low, high = (float(str(row[k])) for k in ("accuracy", "low", "high"))
    if math.isnan(accuracy):
        return _empty(absence(row), str(row["status"]))
    hover = f"n = {row['n']:.0f}, 95% interval {100 * low:.1f} to {100 * high:.1f}%"
    hover += "" if row["status"] == "ok" else f"; {row['status']}"
    hover += "" if pd.isna(row["flags"]) else f"; flags: {row['flags']}"
    hover += "; attacks of this kind were met in training" if pd.notna(row["seen"]) and row["seen"] else ""
    seen = "°" if pd.notna(row["seen"]) and row["seen"] else ""
    doubt = "*" if row["status"] != "ok" or pd.notna(row["flags"]) else ""
    return {"text": f"{100 * accuracy:.1f}{doubt}{seen}", "hover": hover, "share": f"{accuracy:.3f}", "class": "value"}


def _crossed(table: pd.DataFrame) -> tuple[list[str], list[tuple[str, list[dict[str, str]]]]]:
    rows = [
        (str(detector), [_share(float(value)) if pd.notna(value) else _empty() for value in row])
        for detector, row in table.iterrows()
    ]
    return [str(name) for name in table.columns], rows


def _share(accuracy: float) -> dict[str, str]:
    return {"text": f"{100 * accuracy:.1f}", "hover": "", "share": f"{accuracy:.3f}", "class": "value"}


def _empty(text: str = "n/a", hover: str = "unavailable") -> dict[str, str]:
    return {"text": text, "hover": hover, "share": "0", "class": "missing"}


def _sentences(matrix: pd.DataFrame) -> list[str]:
    sentences = []
    whole = matrix[matrix["direction"] == "both"]
    shares = dict(
        zip(zip(whole["detector"], whole["mode"], whole["attack"], strict=True), whole["accuracy"], strict=True)
    )
    for detector in dict.fromkeys(whole["detector"]):
        clean, static, own = (
            f"{100 * shares[detector, *pair]:.1f}%" if (detector, *pair) in shares else "n/a"
            for pair in (("clean", "clean"), ("static", "worst-case"), ("white-box", "worst-case"))
        )
        sentences.append(
            f"{detector}: {clean} right on clean images, {static} under the worst of the static set, {own} under the "
            "worst attack on itself."
        )
    return sentences


def _licences(facts: dict[str, Any]) -> list[str]:
    """A line for each detector that may not be used commercially."""
    cards = {name: card for name, card in facts.get("detectors", {}).items() if not card.get("commercial", True)}
    return [
        f"{name} is not for commercial use. Weights: {card['weights_licence']}. Base: {card['base_licence']}."
        for name, card in cards.items()
    ]


def _grouped(pictures: list[Picture]) -> dict[str, list[Picture]]:
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.detector, []).append(picture)
    return groups
