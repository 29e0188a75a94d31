"""From the audit's tables to findings: what a classifier could cheat by, and what is worth
knowing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from robustbench_aigi.data.audit.comparison import APART, BOUND

NEAR_SHARE = 0.01
"""Near twins across splits are a cheat from this share of one of the splits on; exact ones always.
"""
ADVICE = {
    "stored": "Store both classes the same way",
    "content": "Stored alike, files differ in size as their pixels do",
    "pixels": "A detector may rest on this alone",
}
WHAT = {
    "stored": "how files are stored",
    "stored and bytes": "how files are stored and how large they are",
    "pixels": "six sums over pixels",
}


@dataclass(frozen=True)
class Finding:
    """One result. ``cheat``: a classifier could pass by it; ``note``: worth knowing, and no reason
    to fail.
    """

    level: Literal["cheat", "note"]
    check: str
    message: str


def findings_of(rows: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> list[Finding]:
    """All findings, cheats first.

    Args:
        rows: the manifest. tables: ``statistics``, ``baselines``, ``twins`` and ``unreadable``, as
            of :func:`audit`.
    """
    found = [
        *_of_parents(rows),
        *_of_twins(rows, tables["twins"]),
        *_of_baselines(tables["baselines"]),
        *_of_statistics(tables["statistics"]),
    ]
    unreadable = tables["unreadable"]
    if len(unreadable):
        first = unreadable.iloc[0]
        found.append(
            Finding(
                "note",
                "unreadable",
                f"{len(unreadable)} unreadable: {first['id']}: {first['reason']}.",
            )
        )
    return sorted(found, key=lambda finding: finding.level)


def _of_statistics(table: pd.DataFrame) -> Iterator[Finding]:
    """One finding for each statistic that tells the classes apart somewhere, with the part where it
    does most.
    """
    apart = table[table["verdict"] == APART]
    for statistic in apart["statistic"].unique():
        own = apart[apart["statistic"] == statistic]
        worst: pd.Series[Any] = own.loc[(own["value"] - 0.5).abs().idxmax()]
        where = (
            f" in {len(own)} of {table['part'].nunique()} parts, {worst['part']} most"
            if len(own) > 1
            else ""
        )
        where = f" in {worst['part']}" if len(own) == 1 and worst["part"] != "all" else where
        yield Finding(
            "cheat" if worst["kind"] == "stored" else "note",
            statistic,
            f"{statistic} tells the classes apart{where}: {worst['measure']}"
            f" {_interval(worst, 'value', 2)}; real {worst['real']}, AI-generated {worst['fake']}."
            f" {ADVICE[worst['kind']]}.",
        )


def _of_baselines(table: pd.DataFrame) -> Iterator[Finding]:
    for features in table["features"].unique():
        own = table[table["features"] == features]
        worst: pd.Series[Any] = own.loc[own["low"].idxmax()]
        above = worst["low"] > BOUND
        where = "" if worst["part"] == "all" else f" in {worst['part']}"
        yield Finding(
            "cheat" if above and features == "stored" else "note",
            f"baseline: {features}",
            f"a classifier that sees only {WHAT[features]} has a balanced accuracy of"
            f" {_interval(worst, 'accuracy', 3)}{where}, {'above' if above else 'within'} the bound"
            f" of {BOUND:.0%} (AUC {worst['auc']:.3f}; {worst['how']}).",
        )


def _of_twins(rows: pd.DataFrame, table: pd.DataFrame) -> Iterator[Finding]:
    split = rows.drop_duplicates("id").set_index("id")["split"]
    for kind, word in (("exact", "the same pixels"), ("near", "nearly the same pixels")):
        own = table[table["kind"] == kind]
        splits, classes = own[own["splits"]], own[own["classes"]]
        if len(splits):
            hit = split[pd.unique(pd.concat([splits["first"], splits["second"]]))]
            shares = hit.value_counts() / rows["split"].value_counts()
            serious = kind == "exact" or shares.max() >= NEAR_SHARE
            yield Finding(
                "cheat" if serious else "note",
                f"{kind} twins across splits",
                f"{len(splits)} pairs of images in two splits have {word}, such as {_pair(splits)}:"
                f" {shares.max():.2%} of the split {shares.idxmax()}. Drop one of each.",
            )
        if len(classes):
            yield Finding(
                "note",
                f"{kind} twins across classes",
                f"{len(classes)} pairs of a real and an AI-generated image have {word}, such as"
                f" {_pair(classes)}.",
            )


def _of_parents(rows: pd.DataFrame) -> Iterator[Finding]:
    sides = rows.groupby("parent")["split"].nunique()
    both = sides[sides > 1]
    if len(both):
        yield Finding(
            "cheat",
            "parents across splits",
            f"{len(both)} source images have copies in two splits, such as {both.index[0]}. Split"
            " by parent.",
        )


def _pair(table: pd.DataFrame) -> str:
    return f"{table['first'].iloc[0]} and {table['second'].iloc[0]}"


def _interval(row: "pd.Series[Any]", name: str, digits: int) -> str:
    return f"{row[name]:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
