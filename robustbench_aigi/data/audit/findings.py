"""From the audit's tables to findings: what a classifier could cheat by, what is worth knowing."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from robustbench_aigi.data.audit.comparison import CHEAT_BOUND, SEPARATES_CLASSES
from robustbench_aigi.data.audit.result import Finding

NEAR_TWIN_SHARE = 0.01
"""Share of a split from which near twins across splits are a cheat; exact ones always are."""
KIND_ADVICE = {
    "stored": "Store both classes the same way",
    "content": "Stored alike, files differ in size as their pixels do",
    "pixels": "A detector may rest on this alone",
}
FEATURE_WORDS = {
    "stored": "how files are stored",
    "stored and bytes": "how files are stored and how large they are",
    "pixels": "six sums over pixels",
}
TWIN_WORDS = {"exact": "the same pixels", "near": "nearly the same pixels"}


def findings_of(rows: pd.DataFrame, tables: dict[str, pd.DataFrame]) -> list[Finding]:
    """Return all findings, cheats first.

    Args:
        rows: the manifest of the readable images.
        tables: ``statistics``, ``baselines``, ``twins`` and ``unreadable``.
    """
    found = [
        *_parent_findings(rows),
        *_twin_findings(rows, tables["twins"]),
        *_baseline_findings(tables["baselines"]),
        *_statistic_findings(tables["statistics"]),
        *_unreadable_findings(tables["unreadable"]),
    ]
    return sorted(found, key=lambda finding: finding.level)


def _unreadable_findings(table: pd.DataFrame) -> Iterator[Finding]:
    if len(table):
        first = table.iloc[0]
        message = f"{len(table)} unreadable: {first['id']}: {first['reason']}."
        yield Finding("note", "unreadable", message)


def _statistic_findings(table: pd.DataFrame) -> Iterator[Finding]:
    """Yield one finding per statistic that separates the classes, with its worst part."""
    separating = table[table["verdict"] == SEPARATES_CLASSES]
    parts = table["part"].nunique() if len(separating) else 0
    for statistic in separating["statistic"].unique():
        own = separating[separating["statistic"] == statistic]
        worst: pd.Series[Any] = own.loc[(own["value"] - 0.5).abs().idxmax()]
        where = ""
        if len(own) > 1:
            where = f" in {len(own)} of {parts} parts, {worst['part']} most"
        elif worst["part"] != "all":
            where = f" in {worst['part']}"
        yield Finding(
            "cheat" if worst["kind"] == "stored" else "note",
            statistic,
            f"{statistic} tells the classes apart{where}: {worst['measure']}"
            f" {_interval(worst, 'value', 2)}; real {worst['real']}, AI-generated {worst['fake']}."
            f" {KIND_ADVICE[worst['kind']]}.",
        )


def _baseline_findings(table: pd.DataFrame) -> Iterator[Finding]:
    for features in table["features"].unique():
        own = table[table["features"] == features]
        worst: pd.Series[Any] = own.loc[own["low"].idxmax()]
        is_above = worst["low"] > CHEAT_BOUND
        where = "" if worst["part"] == "all" else f" in {worst['part']}"
        yield Finding(
            "cheat" if is_above and features == "stored" else "note",
            f"baseline: {features}",
            f"a classifier that sees only {FEATURE_WORDS[features]} has a balanced accuracy of"
            f" {_interval(worst, 'accuracy', 3)}{where}, {'above' if is_above else 'within'} the"
            f" bound of {CHEAT_BOUND:.0%} (AUC {worst['auc']:.3f}; {worst['how']}).",
        )


def _twin_findings(rows: pd.DataFrame, table: pd.DataFrame) -> Iterator[Finding]:
    split = rows.drop_duplicates("id").set_index("id")["split"]
    for kind, words in TWIN_WORDS.items():
        own = table[table["kind"] == kind]
        across_splits = own[own["splits"]]
        across_classes = own[own["classes"]]
        if len(across_splits):
            ids = pd.unique(pd.concat([across_splits["first"], across_splits["second"]]))
            shares = split[ids].value_counts() / rows["split"].value_counts()
            is_cheat = kind == "exact" or shares.max() >= NEAR_TWIN_SHARE
            yield Finding(
                "cheat" if is_cheat else "note",
                f"{kind} twins across splits",
                f"{len(across_splits)} pairs of images in two splits have {words}, such as"
                f" {_pair(across_splits)}: {shares.max():.2%} of the split {shares.idxmax()}. Drop"
                " one of each.",
            )
        if len(across_classes):
            yield Finding(
                "note",
                f"{kind} twins across classes",
                f"{len(across_classes)} pairs of a real and an AI-generated image have {words},"
                f" such as {_pair(across_classes)}.",
            )


def _parent_findings(rows: pd.DataFrame) -> Iterator[Finding]:
    splits = rows.groupby("parent")["split"].nunique()
    torn = splits[splits > 1]
    if len(torn):
        yield Finding(
            "cheat",
            "parents across splits",
            f"{len(torn)} source images have copies in two splits, such as {torn.index[0]}. Split"
            " by parent.",
        )


def _pair(table: pd.DataFrame) -> str:
    return f"{table['first'].iloc[0]} and {table['second'].iloc[0]}"


def _interval(row: "pd.Series[Any]", name: str, digits: int) -> str:
    return f"{row[name]:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"
