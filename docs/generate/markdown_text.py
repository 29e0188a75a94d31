"""Pieces of Markdown: tables and code."""

from collections.abc import Iterable, Sequence


def code(value: object) -> str:
    """Return a value as inline code.

    Example:
        >>> code(True), code("jpeg")
        ('`True`', "`'jpeg'`")
    """
    return f"`{value!r}`"


def cell_text(value: object) -> str:
    """Return a text that stays in its cell of a table."""
    return str(value).replace("|", "\\|").replace("\n", " ")


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table.

    Args:
        head: titles of the columns.
        rows: one sequence of values per row, as many as there are columns.

    Example:
        >>> print(table(["a", "b"], [[1, "x|y"]]))
        | a | b |
        |---|---|
        | 1 | x\\|y |
    """
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(cell_text, row)) + " |" for row in rows]
    return "\n".join(lines)


def page(title: str, *parts: str) -> str:
    """Return a page: a heading, then its parts, each a paragraph, a table or a code block."""
    return "\n\n".join([f"# {title}", *filter(None, parts)]) + "\n"


def fenced(language: str, text: str) -> str:
    """Return a code block."""
    return f"```{language}\n{text.strip()}\n```"
