"""Progress on standard error: bars with rates and remaining time on a terminal, a line now and then
in a log.
"""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

QUIET_SECONDS = 2.0
LOG_SECONDS = 10.0


class Screen:
    """A context whose ``progress(task, done, total)`` and ``say(line)`` are given to the library as
    callbacks.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        self._tasks: dict[str, TaskID] = {}
        self._began: dict[str, float] = {}
        self._logged = time.monotonic()

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()

    def say(self, line: str) -> None:
        """Print a line of its own."""
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def progress(self, task: str, done: int, total: int) -> None:
        """Show how far a task is; a task that ends within two seconds shows nothing."""
        now = time.monotonic()
        began = self._began.setdefault(task, now)
        spent = now - began
        rate = f"{done / spent:.1f}/s" if spent > 0.5 and done else ""
        if not sys.stderr.isatty():
            if spent > QUIET_SECONDS and (done >= total or now - self._logged > LOG_SECONDS):
                left = (
                    f", {(total - done) * spent / done:.0f} s left" if done and done < total else ""
                )
                self.say(f"  {task} {done}/{total} {rate}{left}")
                self._logged = now
        elif done >= total:
            if task in self._tasks:
                self._bars.remove_task(self._tasks.pop(task))
        elif task in self._tasks:
            self._bars.update(self._tasks[task], completed=done, rate=rate)
        elif spent > QUIET_SECONDS / 4:
            self._tasks[task] = self._bars.add_task(task, total=total, completed=done, rate=rate)
        if done >= total:
            self._began.pop(task, None)
