"""Callbacks for progress and messages. Nothing below ``cli`` and ``web`` knows a screen."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with a task's title, the items done, and the items in all."""
Say = Callable[[str], None]
"""Called with one line for the user."""


def silent(task: str, done: int, total: int) -> None:
    """Show no progress."""


def say_nothing(line: str) -> None:
    """Show no message."""
