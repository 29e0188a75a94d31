"""Counts of requests, so that all processes together keep to the budget and the rate limit."""

import json
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.errors import UnavailableError


class Ledger:
    """Requests sent so far and the time of the next one, shared by a detector's copies.

    A copy is made by pickling, for a worker process. From then on the counts are in a file, and one
    request is sent at a time, so that a budget and a rate limit hold for all workers together.

    Attributes:
        counts: ``sent``, ``abstained`` and ``next`` (seconds of the monotonic clock), as last seen
            by this copy.
    """

    def __init__(self) -> None:
        self.counts: dict[str, float] = {"sent": 0, "abstained": 0, "next": 0.0}
        self._folder: str | None = None

    def __getstate__(self) -> dict[str, Any]:
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix="robustbench-aigi-")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            self._write(Path(self._folder))
        return dict(self.__dict__)

    @contextmanager
    def locked(self) -> Iterator[dict[str, float]]:
        """Give the counts, to read and change, while no other copy does."""
        if self._folder is None:
            yield self.counts
            return
        folder = Path(self._folder)
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / "lock"):
            file = _counts_file(folder)
            if file.is_file():
                self.counts = json.loads(file.read_text())
            try:
                yield self.counts
            finally:
                self._write(folder)

    @contextmanager
    def turn(self, spec: EndpointSpec, source: str) -> Iterator[None]:
        """Wait until a request may be sent, count it, and send it inside the context.

        Args:
            spec: has the budget and the rate limit.
            source: the endpoint, for messages.

        Raises:
            UnavailableError: the budget is spent.
        """
        with self.locked() as counts:
            if counts["sent"] >= spec.budget:
                raise UnavailableError(
                    f"the budget of {spec.budget} requests to {source} is spent. "
                    f"Ask about fewer images, or write budget={2 * spec.budget}."
                )
            if spec.requests_per_second is not None:
                wait = counts["next"] - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                start = max(counts["next"], time.monotonic())
                counts["next"] = start + 1 / spec.requests_per_second
            counts["sent"] += 1
            if self._folder is not None:
                self._write(Path(self._folder))  # before it is sent, in case the process is killed
            yield

    def read(self, name: Literal["sent", "abstained"]) -> int:
        """Return a count of all copies.

        Args:
            name: of the count.
        """
        with self.locked() as counts:
            return int(counts[name])

    def add(self, name: Literal["sent", "abstained"]) -> None:
        """Raise a count by one.

        Args:
            name: of the count.
        """
        with self.locked() as counts:
            counts[name] += 1

    def _write(self, folder: Path) -> None:
        _counts_file(folder).write_text(json.dumps(self.counts))


def _counts_file(folder: Path) -> Path:
    return folder / "counts.json"
