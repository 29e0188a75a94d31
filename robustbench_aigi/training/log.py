"""Log of a training: a CSV table of its epochs, and TensorBoard events if that is installed."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from robustbench_aigi.io.files import write_text

LOG_INTERVAL = 20
"""Steps between two points of TensorBoard's loss curve."""


class Log:
    """Writes a CSV file with one row per epoch, and TensorBoard events in a folder beside it.

    The folder has the file's name without its suffix. A resumed training continues both without a
    gap: rows come from its state, and events after its step are purged. Use it in a ``with``
    statement; several fits may follow one another in one log.

    Args:
        path: of the CSV file; None writes nothing.
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
        """Start the log of a fit, or resume it.

        Args:
            task: name of the fit.
            rows: of the epochs so far.
            step: steps so far.
        """
        if self._path is None:
            return
        self._rows[task] = [dict(row) for row in rows]
        if self._writer is not None:
            self._writer.close()
        try:
            from torch.utils.tensorboard import SummaryWriter  # takes seconds, and is an extra
        except ImportError:
            return
        folder = self._path.with_suffix("") / task.replace(" ", "-")
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def step(self, step: int, loss: float, rate: float) -> None:
        """Log a finished step.

        Args:
            step: counted from 1.
            loss: of its batch.
            rate: learning rate.
        """
        if self._writer is not None and step % LOG_INTERVAL == 0:
            self._writer.add_scalar("loss", loss, step)
            self._writer.add_scalar("rate", rate, step)

    def epoch(self, task: str, row: Mapping[str, float], step: int) -> None:
        """Log a finished epoch.

        Args:
            task: name of the fit.
            row: figures of the epoch.
            step: steps so far.
        """
        if self._path is None:
            return
        self._rows[task].append(dict(row))
        write_text(self._path, self._table())
        if self._writer is not None:
            for name, value in row.items():
                self._writer.add_scalar(f"epoch/{name}", value, step)
            self._writer.flush()

    def _table(self) -> str:
        lines = [{"task": task, **row} for task, rows in self._rows.items() for row in rows]
        columns = list(dict.fromkeys(key for line in lines for key in line))
        text = io.StringIO()
        table = csv.DictWriter(text, columns, lineterminator="\n")
        table.writeheader()
        table.writerows(lines)
        return text.getvalue()
