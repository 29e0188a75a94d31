"""The log of a training: a table of its epochs, and TensorBoard's events where that is
installed.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from robustbench_aigi.io.files import write_text

EVERY = 20
"""Steps between two points of TensorBoard's curve of the loss."""


class Log:
    """Writes ``PATH`` (CSV, a row an epoch) and the folder ``PATH`` without its ending (events of
    TensorBoard).

    A training taken up again continues both without a gap: its state brings the rows, and events
    after its step are purged. Used as a context; several fits may follow one another in one.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._rows: dict[str, list[dict[str, Any]]] = {}
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._writer is not None:
            self._writer.close()

    def begin(self, task: str, rows: Sequence[Mapping[str, float]], step: int) -> None:
        """A fit begins, or goes on after ``step`` with the rows so far."""
        if self._path is None:
            return
        self._rows[task] = [dict(row) for row in rows]
        if self._writer is not None:
            self._writer.close()
        try:
            from torch.utils.tensorboard import SummaryWriter  # seconds, and an extra
        except ImportError:
            return
        self._writer = SummaryWriter(
            str(self._path.with_suffix("") / task.replace(" ", "-")), purge_step=step + 1
        )

    def step(self, step: int, loss: float, rate: float) -> None:
        """A training step is done; ``step`` counts from 1."""
        if self._writer is not None and step % EVERY == 0:
            self._writer.add_scalar("loss", loss, step)
            self._writer.add_scalar("rate", rate, step)

    def epoch(self, task: str, row: Mapping[str, float], step: int) -> None:
        """An epoch is done."""
        if self._path is None:
            return
        self._rows[task].append(dict(row))
        lines = [{"task": task, **line} for task, rows in self._rows.items() for line in rows]
        text = io.StringIO()
        table = csv.DictWriter(
            text, list(dict.fromkeys(key for line in lines for key in line)), lineterminator="\n"
        )
        table.writeheader()
        table.writerows(lines)
        write_text(self._path, text.getvalue())
        if self._writer is not None:
            for name, value in row.items():
                self._writer.add_scalar(f"epoch/{name}", value, step)
            self._writer.flush()
