"""Counting requests, so that no more and no faster are sent than allowed, by all processes
together.
"""

import json
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock

from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.errors import UnavailableError


class Ledger:
    """Requests sent so far and the time of the next one, shared by all copies of a detector on a
    machine.

    A copy is made by pickling, for a worker process. From then on the counts are in a file, and one
    request is sent at a time, so that a budget and a rate limit hold for all workers together.

    Attributes:
        counts: ``sent``, ``abstained`` and ``next`` (seconds of the monotonic clock), as last seen
            by this copy.
    """

    def __init__(self) -> None:
        self.counts: dict[str, float] = {"sent": 0, "abstained": 0, "next": 0.0}
        self._folder = ""

    def __getstate__(self) -> dict[str, Any]:
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="robustbench-aigi-")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            self._write()
        return dict(self.__dict__)

    @contextmanager
    def held(self) -> Iterator[dict[str, float]]:
        """The counts, to read and change, while no other copy does; ``write`` keeps a change at
        once.
        """
        if not self._folder:
            yield self.counts
            return
        Path(self._folder).mkdir(parents=True, exist_ok=True)
        with FileLock(Path(self._folder) / "lock"):
            if self._file.is_file():
                self.counts = json.loads(self._file.read_text())
            try:
                yield self.counts
            finally:
                self._write()

    @contextmanager
    def turn(self, spec: EndpointSpec, source: str) -> Iterator[None]:
        """Count a request when it may be sent, and send it inside. Raises ``UnavailableError`` if
        the budget is spent.
        """
        with self.held() as counts:
            if counts["sent"] >= spec.budget:
                raise UnavailableError(
                    f"the budget of {spec.budget} requests to {source} is spent. "
                    f"Ask about fewer images, or write budget={2 * spec.budget}."
                )
            if spec.requests_per_second is not None:
                wait = counts["next"] - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                counts["next"] = (
                    max(counts["next"], time.monotonic()) + 1 / spec.requests_per_second
                )
            counts["sent"] += 1
            if self._folder:
                self._write()  # before it is sent, so that a killed process has been counted
            yield

    def read(self, name: str) -> int:
        """Return a count of all copies."""
        with self.held() as counts:
            return int(counts[name])

    def add(self, name: str) -> None:
        """Raise a count by one."""
        with self.held() as counts:
            counts[name] += 1

    @property
    def _file(self) -> Path:
        return Path(self._folder) / "counts.json"

    def _write(self) -> None:
        self._file.write_text(json.dumps(self.counts))
