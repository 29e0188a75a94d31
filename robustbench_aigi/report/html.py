"""One self-contained page: the matrix as a heat map, and a gallery. It asks no other address for anything."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from robustbench_aigi.files import write_text
from robustbench_aigi.report.pictures import Picture, gallery
from robustbench_aigi.report.tables import columns_of

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
    facts = json.loads((run / "run.json").read_text()) if run is not None and (run / "run.json").is_file() else {}
    page = environment.get_template("report.html").render(
        tables=[(title, *_table(matrix, direction)) for direction, title in DIRECTIONS.items()],
        sentences=_sentences(matrix),
        pictures=_grouped(pictures),
        unavailable=_unavailable(matrix),
        facts=facts,
        provenance=json.dumps(facts, indent=2),
    )
    write_text(path, page)


def _table(
    matrix: pd.DataFrame, direction: str
) -> tuple[list[tuple[str, str]], list[tuple[str, list[dict[str, str]]]]]:
    pairs = columns_of(matrix)
    part = matrix[matrix["direction"] == direction].set_index(["detector", "mode", "attack"])
    rows = []
    for detector in dict.fromkeys(matrix["detector"]):
        cells = [_cell(part.loc[[(detector, *p)]].iloc[0]) if (detector, *p) in part.index else _empty() for p in pairs]
        rows.append((detector, cells))
    return pairs, rows


def _cell(row: "pd.Series[Any]") -> dict[str, str]:
    accuracy, low, high = (float(str(row[k])) for k in ("accuracy", "low", "high"))
    if math.isnan(accuracy):
        return _empty()
    hover = f"n = {row['n']:.0f}, 95% interval {100 * low:.1f} to {100 * high:.1f}%"
    return {"text": f"{100 * accuracy:.1f}", "hover": hover, "share": f"{accuracy:.3f}", "class": "value"}


def _empty() -> dict[str, str]:
    return {"text": "n/a", "hover": "unavailable", "share": "0", "class": "missing"}


def _sentences(matrix: pd.DataFrame) -> list[str]:
    sentences = []
    whole = matrix[matrix["direction"] == "both"].set_index(["detector", "mode", "attack"])
    for detector in dict.fromkeys(whole.index.get_level_values("detector")):
        clean = float(str(whole.loc[[(detector, "clean", "clean")]].iloc[0]["accuracy"]))
        worst = {
            m: float(str(whole.loc[[(detector, m, "worst-case")]].iloc[0]["accuracy"])) for m in ("static", "white-box")
        }
        sentences.append(
            f"{detector}: {100 * clean:.1f}% right on clean images, {100 * worst['static']:.1f}% under the worst of "
            f"the static set, {100 * worst['white-box']:.1f}% under the worst attack on itself."
        )
    return sentences


def _unavailable(matrix: pd.DataFrame) -> list[tuple[str, str]]:
    rows = matrix[matrix["status"] != "ok"]
    return [
        (f"{row['detector']} {'' if pd.isna(row['attack']) else row['attack']}", str(row["status"]))
        for row in rows.to_dict("records")
    ]


def _grouped(pictures: list[Picture]) -> dict[str, list[Picture]]:
    groups: dict[str, list[Picture]] = {}
    for picture in pictures:
        groups.setdefault(picture.detector, []).append(picture)
    return groups
