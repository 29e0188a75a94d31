"""Every statistic by class, in the whole dataset and in each of its parts."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd

from robustbench_aigi.data.audit.effects import auc, cramers_v
from robustbench_aigi.data.audit.statistics import (
    CATEGORIES,
    CONTENT_NUMBERS,
    FILE_NUMBERS,
    PIXEL_NUMBERS,
)

Bools = npt.NDArray[np.bool_]
Part = tuple[str, Bools]

BOUND = 0.6
"""Balanced accuracy, and AUC, that no statistic may pass; Cramer's V of 0.2 is the same for two
equal values.
"""
KINDS = dict.fromkeys((*CATEGORIES, *FILE_NUMBERS), "stored") | dict.fromkeys(
    CONTENT_NUMBERS, "content"
)
KINDS |= dict.fromkeys(PIXEL_NUMBERS, "pixels")
APART, LITTLE, NONE = "tells the classes apart", "differs a little", "no difference seen"


def parts_of(table: pd.DataFrame) -> list[Part]:
    """The whole set, then each attack of a ``++`` set, or each generator where there are several,
    as masks ``(N,)``.

    A part of one class, such as diffusion samples, is compared with the other class's untouched
    images.
    """
    fake = table["label"].to_numpy() == 1
    everything = np.ones(len(table), dtype=bool)
    if "attack" in table:
        names, base = table["attack"].to_numpy(), table["attack"].to_numpy() == "clean"
    else:
        names, base = table["generator"].astype(str).where(fake, "").to_numpy(), everything
    found = [name for name in dict.fromkeys(names) if name]
    parts: list[Part] = [("all", everything)]
    for name in found if len(found) > 1 else []:
        mask = names == name
        for own in (fake, ~fake):
            if not (mask & own).any():
                mask = mask | (base & own)
        parts.append((str(name), mask))
    return parts


def compared(table: pd.DataFrame, parts: Sequence[Part]) -> pd.DataFrame:
    """A row a part and statistic: ``measure`` with 95% interval, what is usual in each class, ``n``
    and a ``verdict``.

    Args:
        table: statistics beside ``label`` and ``parent``, a row an image.
    """
    return pd.DataFrame([row for part in parts for row in _part(table, part)])


def _part(table: pd.DataFrame, part: Part) -> Iterator[dict[str, object]]:
    for statistic, kind in KINDS.items():
        rows = table.loc[
            part[1] & table[statistic].notna().to_numpy(), [statistic, "label", "parent"]
        ]
        fake = rows["label"].to_numpy() == 1
        if fake.all() or not fake.any():
            continue
        groups = pd.factorize(rows["parent"])[0].astype(np.int64)
        values = rows[statistic]
        named = statistic in CATEGORIES
        estimate = (
            cramers_v(values, fake, groups) if named else auc(values.to_numpy(float), fake, groups)
        )
        usual = [
            values[own].mode().iloc[0] if named else f"{values[own].median():.4g}"
            for own in (~fake, fake)
        ]
        yield {
            "part": part[0],
            "statistic": statistic,
            "kind": kind,
            "measure": "Cramer's V" if named else "AUC",
            **estimate._asdict(),
            "real": usual[0],
            "fake": usual[1],
            "n": len(rows),
            "verdict": _verdict(estimate.low, estimate.high, named),
        }


def _verdict(low: float, high: float, named: bool) -> str:
    """By the end of the interval that is nearer to chance."""
    nearer = low if named else 2 * max(low - 0.5, 0.5 - high)
    return APART if nearer > 2 * BOUND - 1 else LITTLE if nearer > 0 else NONE
