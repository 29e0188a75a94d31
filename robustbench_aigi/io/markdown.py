"""Tables in Markdown, with any text in their cells."""

import re
from collections.abc import Iterable

SPECIAL_CHARACTERS = re.compile(r"([\\|`<])")
"""Characters that would end a cell, begin code, or begin a tag."""


def escaped(text: object) -> str:
    r"""Return text as one line that a table's cell shows as it is.

    Args:
        text: any object; its text is used.

    Example:
        >>> escaped("a|b\nc")
        'a\\|b c'
    """
    return SPECIAL_CHARACTERS.sub(r"\\\1", " ".join(str(text).split()))


def table_row(cells: Iterable[object]) -> str:
    """Return one row of a table.

    Args:
        cells: of the row, not escaped.

    Example:
        >>> table_row(["mine", 3])
        '| mine | 3 |'
    """
    return f"| {' | '.join(map(escaped, cells))} |"


def table_head(names: Iterable[object], numbers: int = 0) -> list[str]:
    """Return the head of a table, and the line below it.

    Args:
        names: of the columns.
        numbers: how many of the last columns are aligned to the right.

    Example:
        >>> table_head(["name", "n"], numbers=1)
        ['| name | n |', '|---|---:|']
    """
    columns = list(names)
    return [table_row(columns), "|" + "---|" * (len(columns) - numbers) + "---:|" * numbers]
