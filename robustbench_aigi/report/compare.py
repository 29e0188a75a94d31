"""Changes between two runs, on the images that both have."""

from collections.abc import Iterator

import pandas as pd

from robustbench_aigi.errors import DataError
from robustbench_aigi.evaluation.intervals import holm, mcnemar
from robustbench_aigi.evaluation.metrics import LABEL_OF_DIRECTION
from robustbench_aigi.evaluation.run_state import TableKey, Tables
from robustbench_aigi.io.markdown import table_row
from robustbench_aigi.report.run_results import RunResults

CHANGE_COLUMNS = (
    "detector",
    "mode",
    "attack",
    "direction",
    "n",
    "accuracy_before",
    "accuracy",
    "lost",
    "won",
    "p",
    "p_holm",
    "verdict",
)
DEFAULT_SIGNIFICANCE = 0.01
"""Largest p, after Holm's correction, of a change beyond chance."""


def compare(
    run: RunResults, base: RunResults, significance: float = DEFAULT_SIGNIFICANCE
) -> pd.DataFrame:
    """Compare every cell of a run with that of an earlier one, one row per direction.

    By an exact McNemar test on the images that both have, adjusted by Holm for all rows. The
    verdict is ``regression``, ``improvement``, ``same`` (no difference beyond chance), ``new`` or
    ``gone`` (a cell that only one run has).

    Args:
        run: the later run.
        base: the earlier run.
        significance: largest p, after Holm's correction, of a change beyond chance.

    Raises:
        DataError: the two have no image in common.
    """
    now = run.cells
    before = _paired(base.cells, now)
    rows = [
        row
        for key in dict.fromkeys([*now, *before])
        for row in _rows(key, before.get(key), now.get(key))
    ]
    tested = [row for row in rows if "p" in row]
    if not tested:
        raise DataError(
            f"{_described(run)} and {_described(base)} have no finished cell of one detector on the"
            " same images. Compare runs on the same data; NEW=CHECKPOINT of `evaluate` gives a"
            " detector another's name."
        )
    for row, adjusted in zip(tested, holm([float(str(row["p"])) for row in tested]), strict=True):
        changed = "regression" if int(str(row["lost"])) > int(str(row["won"])) else "improvement"
        row |= {"p_holm": adjusted, "verdict": changed if adjusted < significance else "same"}
    return pd.DataFrame(rows, columns=list(CHANGE_COLUMNS)).astype(
        {"n": "Int64", "lost": "Int64", "won": "Int64"}
    )


def _described(finished: RunResults) -> str:
    folders = ", ".join(str(run.folder) for run in finished.runs)
    detectors = ", ".join(dict.fromkeys(key[0] for key in finished.cells))
    return f"{folders} (of {detectors or 'no detector'})"


def _paired(before: Tables, now: Tables) -> Tables:
    """One detector under two names, such as two versions of one's own, is one."""
    old, new = ({detector for detector, _, _ in cells} for cells in (before, now))
    if len(old) == len(new) == 1 and old != new:
        (name,) = new
        return Tables(before.renamed(lambda _: name))
    return before


def _rows(
    key: TableKey, before: pd.DataFrame | None, now: pd.DataFrame | None
) -> Iterator[dict[str, object]]:
    head: dict[str, object] = dict(zip(("detector", "mode", "attack"), key, strict=True))
    if before is None or now is None:
        yield head | {"verdict": "new" if before is None else "gone"}
        return
    both = before.merge(now, on="id", suffixes=("_before", "_now"))
    for direction in (*LABEL_OF_DIRECTION, "both"):
        part = (
            both
            if direction == "both"
            else both[both["label_now"] == LABEL_OF_DIRECTION[direction]]
        )
        if part.empty:
            continue
        change = mcnemar(~part["fooled_before"], ~part["fooled_now"])
        yield head | {
            "direction": direction,
            "n": len(part),
            "accuracy_before": float((~part["fooled_before"]).mean()),
            "accuracy": float((~part["fooled_now"]).mean()),
            "lost": change.lost,
            "won": change.won,
            "p": change.p,
        }


def to_markdown(changes: pd.DataFrame) -> str:
    """Return a table of what changed beyond chance, and a line that counts all verdicts.

    Args:
        changes: what :func:`compare` returned.
    """
    lines = [
        table_row(
            [
                "detector",
                "mode",
                "attack",
                "direction",
                "before",
                "now",
                "lost",
                "won",
                "p (Holm)",
                "verdict",
            ]
        )
    ]
    lines.append("|---|---|---|---|---:|---:|---:|---:|---:|---|")
    for row in changes[changes["verdict"].isin(["regression", "improvement"])].to_dict("records"):
        shares = [f"{100 * row[column]:.1f}" for column in ("accuracy_before", "accuracy")]
        cells = [row[column] for column in ("detector", "mode", "attack", "direction")]
        lines.append(
            table_row(
                [*cells, *shares, row["lost"], row["won"], f"{row['p_holm']:.2g}", row["verdict"]]
            )
        )
    counts = changes["verdict"].value_counts()
    rest = ", ".join(
        f"{counts.get(word, 0)} {word}"
        for word in ("regression", "improvement", "same", "new", "gone")
    )
    return "\n".join([*(lines if len(lines) > 2 else []), "", rest]).strip()
