"""Sending requests: one at a time, not faster and not more than allowed, and again where that may help."""

import json
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from filelock import FileLock

from robustbench_aigi.detectors.anyone.endpoint_spec import EndpointSpec
from robustbench_aigi.errors import BadLogits, Unavailable

MAX_ANSWER = 2**24
"""Bytes of an answer that are read."""


class RefusedError(Unavailable):
    """A status that trying again does not change."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Ledger:
    """Requests sent so far and the time of the next one, shared by all copies of a detector on a machine.

    A copy is made by pickling, for a worker process. From then on the counts are in a file, and one request is sent at
    a time, so that a budget and a rate limit hold for all workers together.

    Attributes:
        counts: ``sent``, ``abstained`` and ``next`` (seconds of the monotonic clock), as last seen by this copy.
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
        """The counts, to read and change, while no other copy does; ``write`` keeps a change at once."""
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
        """Count a request when it may be sent, and send it inside. Raises ``Unavailable`` if the budget is spent."""
        with self.held() as counts:
            if counts["sent"] >= spec.budget:
                raise Unavailable(
                    f"the budget of {spec.budget} requests to {source} is spent. "
                    f"Ask about fewer images, or write budget={2 * spec.budget}."
                )
            if spec.requests_per_second is not None:
                wait = counts["next"] - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                counts["next"] = max(counts["next"], time.monotonic()) + 1 / spec.requests_per_second
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


class Transport:
    """Sends requests and reads JSON; what a server writes about an error is left out of messages.

    Args:
        source: the endpoint, for messages.
    """

    def __init__(self, spec: EndpointSpec, source: str) -> None:
        self.spec, self.source, self.ledger = spec, source, Ledger()
        self._opener: OpenerDirector | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opener": None}

    def ask(self, make: Callable[[], Request]) -> tuple[int, Any]:
        """Return the status and the JSON that answers a request, made anew for every try.

        Raises:
            RefusedError: a status that trying again does not change. Unavailable: no answer, or no budget.
            BadLogits: an answer that is no JSON.
        """
        status, text = self._tried(make)
        if len(text) > MAX_ANSWER:
            raise BadLogits(f"{self.source} answered with more than {MAX_ANSWER} bytes. Look at the URL.")
        try:
            return status, json.loads(text)
        except ValueError:
            raise BadLogits(f"{self.source} answered with something that is no JSON. Look at the URL.") from None

    def _tried(self, make: Callable[[], Request]) -> tuple[int, bytes]:
        trouble, pause = "", 0.0
        for attempt in range(self.spec.tries):
            if attempt:
                time.sleep(pause)
            wanted = None
            try:
                return self._sent(make())
            except HTTPError as error:
                error.close()
                trouble = f"status {error.code}"
                if error.code != 429 and error.code < 500:
                    raise RefusedError(refusal(self.source, error.code), error.code) from None
                wanted = retry_after(error.headers.get("Retry-After"))
            except (OSError, HTTPException) as error:
                trouble = type(getattr(error, "reason", error)).__name__
            pause = self.spec.pause * 2**attempt if wanted is None else wanted
            if wanted is not None and wanted > self.spec.longest_pause:
                raise Unavailable(
                    f"{self.source} answered with {trouble} and asks to wait {wanted:.0f} seconds, longer than the "
                    f"{self.spec.longest_pause:g} allowed. Come back later, or write longest_pause={wanted + 1:.0f}."
                ) from None
        raise Unavailable(
            f"{self.source} gave no answer in {self.spec.tries} tries, the last time {trouble}. "
            "Look whether it runs, or give it longer: timeout=60, tries=8."
        )

    def _sent(self, request: Request) -> tuple[int, bytes]:
        if self._opener is None:
            self._opener = build_opener(_NoRedirect)
        with (
            self.ledger.turn(self.spec, self.source),
            self._opener.open(request, timeout=self.spec.timeout) as answer,
        ):
            return int(answer.status), bytes(answer.read(MAX_ANSWER + 1))


def retry_after(text: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait, a number or a date; None if it says neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def refusal(source: str, status: int) -> str:
    """Return what to do about a status that trying again does not change."""
    if status in (401, 403):
        return f"{source} refused with status {status}. Check the token in the variable that token_env names."
    if 300 <= status < 400:
        return f"{source} redirects (status {status}), which is not followed. Write the URL it redirects to."
    if status == 402:
        return f"{source} refused with status 402. The account has no credit left."
    if status == 413:
        return f"{source} refused with status 413: the image is too large for it. Give smaller images."
    return f"{source} refused with status {status}. Check the URL, and that it takes what is sent (body, form, template)."


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str) -> None:
        """Never: a token must not follow to another host."""
