"""Every statistic by class, in the whole dataset and in each of its parts."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_aigi.data.audit.effects import auc, cramers_v
from robustbench_aigi.data.audit.image_statistics import (
    CONTENT_NUMBERS,
    FILE_NUMBERS,
    PIXEL_NUMBERS,
    STORAGE_CATEGORIES,
)

Bools = npt.NDArray[np.bool_]
Part = tuple[str, Bools]
"""Name and mask ``(N,)`` of a part of the dataset."""

CHEAT_BOUND = 0.6
"""Balanced accuracy, and AUC, that no statistic may pass. For two equally frequent values it is a
Cramer's V of 0.2.
"""
STATISTIC_KINDS = (
    dict.fromkeys((*STORAGE_CATEGORIES, *FILE_NUMBERS), "stored")
    | dict.fromkeys(CONTENT_NUMBERS, "content")
    | dict.fromkeys(PIXEL_NUMBERS, "pixels")
)
"""Statistic to its kind: how files are stored, how much is in them, or sums over pixels."""
SEPARATES_CLASSES = "tells the classes apart"
DIFFERS_LITTLE = "differs a little"
NO_DIFFERENCE = "no difference seen"


def parts_of(table: pd.DataFrame) -> list[Part]:
    """Return the whole set, then each attack of a ``++`` set, or each of several generators.

    A part of one class, such as diffusion samples, is compared with the other class's untouched
    images.

    Args:
        table: ``label``, and ``attack`` or ``generator``, one row per image.
    """
    fake = table["label"].to_numpy() == 1
    everything = np.ones(len(table), dtype=bool)
    if "attack" in table:
        names = table["attack"].to_numpy()
        untouched = names == "clean"
    else:
        names = table["generator"].astype(str).where(fake, "").to_numpy()
        untouched = everything
    found = [name for name in dict.fromkeys(names) if name]
    parts: list[Part] = [("all", everything)]
    if len(found) < 2:
        return parts
    for name in found:
        mask = names == name
        for own in (fake, ~fake):
            if not (mask & own).any():
                mask = mask | (untouched & own)
        parts.append((str(name), mask))
    return parts


def compare_classes(table: pd.DataFrame, parts: Sequence[Part]) -> pd.DataFrame:
    """Compare every statistic of the two classes in every part.

    Args:
        table: statistics beside ``label`` and ``parent``, one row per image.
        parts: of :func:`parts_of`.

    Returns:
        One row per part and statistic: ``measure`` with its 95% interval, what is usual in each
        class, ``n`` and a ``verdict``.
    """
    return pd.DataFrame([row for part in parts for row in _compare_part(table, part)])


def _compare_part(table: pd.DataFrame, part: Part) -> Iterator[dict[str, object]]:
    for statistic, kind in STATISTIC_KINDS.items():
        mask = part[1] & table[statistic].notna().to_numpy()
        rows = table.loc[mask, [statistic, "label", "parent"]]
        fake = rows["label"].to_numpy() == 1
        if fake.all() or not fake.any():
            continue
        groups = pd.factorize(rows["parent"])[0].astype(np.int64)
        values = rows[statistic]
        is_category = statistic in STORAGE_CATEGORIES
        if is_category:
            estimate = cramers_v(values, fake, groups)
            usual = [values[own].mode().iloc[0] for own in (~fake, fake)]
        else:
            estimate = auc(values.to_numpy(float), fake, groups)
            usual = [f"{values[own].median():.4g}" for own in (~fake, fake)]
        yield {
            "part": part[0],
            "statistic": statistic,
            "kind": kind,
            "measure": "Cramer's V" if is_category else "AUC",
            **estimate._asdict(),
            "real": usual[0],
            "fake": usual[1],
            "n": len(rows),
            "verdict": _verdict(estimate.low, estimate.high, is_category),
        }


def _verdict(low: float, high: float, is_category: bool) -> str:
    """Judge by the end of the interval that is nearer to chance."""
    nearer = low if is_category else 2 * max(low - 0.5, 0.5 - high)
    if nearer > 2 * CHEAT_BOUND - 1:
        return SEPARATES_CLASSES
    return DIFFERS_LITTLE if nearer > 0 else NO_DIFFERENCE
