"""What the first screen says of each detector."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from robustbench_aigi.attacks import load_attack
from robustbench_aigi.evaluation.adequacy.detector_flags import DETECTOR_FLAGS
from robustbench_aigi.evaluation.adequacy.flags import Flag

FOOLING_RATE = 0.5
"""Share of the recognised fakes from which on a change counts as fooling the detector."""
Rows = Mapping[tuple[Any, ...], dict[Any, Any]]
"""The detector's rows of the matrix by mode, attack and direction."""


class Headline(NamedTuple):
    """A detector's card on the first screen: shares as texts in percent, or "n/a", and a sentence.

    ``bound`` says over how many images the worst case is, and its bound over all, where a row has a
    limit; else empty. ``alarms`` are sentences that come before every number: why none of them
    means anything.
    """

    detector: str
    clean: str
    static: str
    worst: str
    sentence: str
    bound: str = ""
    alarms: tuple[str, ...] = ()


def headlines(
    matrix: pd.DataFrame, facts: dict[str, Any], flags: Sequence[Flag] = ()
) -> list[Headline]:
    """One per detector, in the matrix's order."""
    return [
        _headline(str(name), matrix[matrix["detector"] == name], facts)._replace(
            alarms=alarms(str(name), flags)
        )
        for name in dict.fromkeys(matrix["detector"])
    ]


def alarms(detector: str, flags: Sequence[Flag]) -> tuple[str, ...]:
    """What speaks against every number of a detector, one sentence each."""
    return tuple(
        flag.message for flag in flags if flag.detector == detector and flag.kind in DETECTOR_FLAGS
    )


def _headline(name: str, own: pd.DataFrame, facts: dict[str, Any]) -> Headline:
    if own["attack"].isna().all():
        return Headline(name, "n/a", "n/a", "n/a", str(own["status"].iloc[0]))
    rows = {(row["mode"], row["attack"], row["direction"]): row for row in own.to_dict("records")}
    clean, static, worst = (
        _percent(rows, *pair)
        for pair in (("clean", "clean"), ("static", "worst-case"), ("white-box", "worst-case"))
    )
    return Headline(name, clean, static, worst, _sentence(rows, facts), _bound(rows))


def _bound(rows: Rows) -> str:
    above = rows.get(("white-box", "worst-case-bound", "both"))
    if above is None or pd.isna(above["accuracy"]):
        return ""
    met = rows["white-box", "worst-case", "both"]
    return (
        f"The worst attack on itself is over the {met['n']} images that every attack met"
        f" ({_percent(rows, 'white-box', 'worst-case')}, {100 * met['low']:.1f} to"
        f" {100 * met['high']:.1f}). Over all {above['n']} images it is at most"
        f" {_percent(rows, 'white-box', 'worst-case-bound')}."
    )


def _sentence(rows: Rows, facts: dict[str, Any]) -> str:
    """The smallest change that fools it more often than not; else what the largest one leaves."""
    found: list[tuple[float, float]] = []
    for row in facts.get("suite", {}).get("attacks", []):
        cell = rows.get(("white-box", row["id"], "evasion"), {})
        levels = load_attack(row["attack"], **row.get("with", {})).budget().linf
        if levels is not None and pd.notna(cell.get("success_rate", math.nan)):
            found.append((float(levels), float(cell["success_rate"])))
    if not found:
        left = _percent(rows, "white-box", "worst-case", "evasion")
        return (
            f"The worst attack on itself leaves {left} of the fakes recognised."
            if left != "n/a"
            else ""
        )
    fooling = [pair for pair in found if pair[1] >= FOOLING_RATE]
    levels = min(pair[0] for pair in fooling) if fooling else max(pair[0] for pair in found)
    success = max(share for size, share in found if size == levels)
    if fooling:
        return (
            f"Fooled by a {levels:g}-level change in {100 * success:.0f}% of the fakes it"
            " recognised."
        )
    return (
        f"Holds in {100 * (1 - success):.0f}% of the fakes it recognised against {levels:g}-level"
        " changes."
    )


def _percent(rows: Rows, mode: str, attack: str, direction: str = "both") -> str:
    share = rows.get((mode, attack, direction), {}).get("accuracy", math.nan)
    return "n/a" if pd.isna(share) else f"{100 * float(share):.1f}%"
