"""What a description counts: images by class, and reasons why images are left out."""

import re
from collections import Counter
from collections.abc import Sequence

import pandas as pd

from robustbench_aigi.data.description.result import CountsByClass, Reason
from robustbench_aigi.data.drawing import CLASS_WORDS
from robustbench_aigi.data.sources.entry import Skipped

MAX_EXAMPLES = 3
"""Names that are shown of each reason."""


def group_reasons(skipped: Sequence[Skipped]) -> tuple[Reason, ...]:
    """Group what is left out by its reason, the most frequent one first.

    Numbers and quoted names in a reason do not matter.

    Args:
        skipped: what is left out.

    Example:
        >>> group_reasons([Skipped("a", "4 pixels"), Skipped("b", "5 pixels")])
        (Reason(reason='4 pixels', count=2, examples=('a', 'b')),)
    """
    groups: dict[str, list[Skipped]] = {}
    for one in skipped:
        pattern = re.sub(r"\d+|'[^']*'", "#", one.reason)
        groups.setdefault(pattern, []).append(one)
    found = [
        Reason(own[0].reason, len(own), tuple(one.name for one in own[:MAX_EXAMPLES]))
        for own in groups.values()
    ]
    return tuple(sorted(found, key=lambda one: -one.count))


def with_class(rows: pd.DataFrame) -> pd.DataFrame:
    """Return manifest rows with a column ``class``, the words for the label."""
    return rows.assign(**{"class": rows["label"].map(CLASS_WORDS)})


def count_by_class(table: pd.DataFrame, column: str) -> CountsByClass:
    """Count images by the values of a column and by class.

    Args:
        table: with the column ``class``.
        column: its name.
    """
    counts = Counter(zip(table[column].astype(str), table["class"], strict=True))
    found = {}
    for value in sorted({value for value, _ in counts}):
        found[value] = {name: counts[value, name] for name in CLASS_WORDS.values()}
    return found


def count_texts(values: "pd.Series[str]") -> dict[str, int]:
    """Count each text that is not empty.

    Args:
        values: texts; None is not counted.
    """
    return dict(Counter(value for value in values if isinstance(value, str) and value))
