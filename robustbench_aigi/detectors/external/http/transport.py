"""Sending requests, and sending them again where that may help."""

import json
import time
from collections.abc import Callable
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import IO, Any
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from robustbench_aigi.detectors.external.http.ledger import Ledger
from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.errors import LogitsError, UnavailableError

MAX_ANSWER = 2**24
"""Bytes of an answer that are read."""


class RejectedError(UnavailableError):
    """A status that trying again does not change.

    Args:
        message: for the user.
        status: of HTTP.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Transport:
    """Sends requests and reads JSON; what a server writes about an error is left out of messages.

    Args:
        spec: has the budget, the rate limit, the tries and the pauses.
        source: the endpoint, for messages.
    """

    def __init__(self, spec: EndpointSpec, source: str) -> None:
        self.spec = spec
        self.source = source
        self.ledger = Ledger()
        self._opener: OpenerDirector | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opener": None}

    def ask(self, make: Callable[[], Request]) -> tuple[int, Any]:
        """Send a request until it is answered.

        Args:
            make: makes the request, again for every try.

        Returns:
            The status, and the JSON value of the answer.

        Raises:
            RejectedError: a status that trying again does not change.
            UnavailableError: no answer, or the budget is spent.
            LogitsError: the answer is no JSON.
        """
        status, text = self._tried(make)
        if len(text) > MAX_ANSWER:
            raise LogitsError(
                f"{self.source} answered with more than {MAX_ANSWER} bytes. Check the URL."
            )
        try:
            return status, json.loads(text)
        except (ValueError, RecursionError):
            raise LogitsError(
                f"{self.source} answered with something that is no JSON. Check the URL."
            ) from None

    def _tried(self, make: Callable[[], Request]) -> tuple[int, bytes]:
        """Return the status and the text of the first answer that is no temporary error."""
        trouble = ""
        pause = 0.0
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
                    message = rejection_message(self.source, error.code)
                    raise RejectedError(message, error.code) from None
                wanted = retry_after(error.headers.get("Retry-After"))
            except (OSError, HTTPException) as error:
                trouble = type(getattr(error, "reason", error)).__name__
            pause = self.spec.pause * 2**attempt if wanted is None else wanted
            if wanted is not None and wanted > self.spec.longest_pause:
                raise UnavailableError(
                    f"{self.source} answered with {trouble} and asks to wait {wanted:.0f} seconds,"
                    f" longer than the {self.spec.longest_pause:g} allowed. Come back later, or"
                    f" write longest_pause={wanted + 1:.0f}."
                ) from None
        raise UnavailableError(
            f"{self.source} gave no answer in {self.spec.tries} tries, the last time {trouble}. "
            "Check whether it runs, or give it longer: timeout=60, tries=8."
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
    """Return the seconds that a ``Retry-After`` header asks to wait.

    Args:
        text: of the header, a number of seconds or a date; None if there is none.

    Returns:
        The seconds; None if the header is neither.

    Example:
        >>> retry_after("12"), retry_after("soon")
        (12.0, None)
    """
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, OverflowError):
        return None


def rejection_message(source: str, status: int) -> str:
    """Return what to do about a status that trying again does not change.

    Args:
        source: the endpoint.
        status: of HTTP.
    """
    if status in (401, 403):
        return (
            f"{source} rejected the request with status {status}. Check the token in the variable"
            " that token_env names."
        )
    if 300 <= status < 400:
        return (
            f"{source} redirects (status {status}), which is not followed. Write the URL it"
            " redirects to."
        )
    if status == 402:
        return f"{source} rejected the request with status 402. The account has no credit left."
    if status == 413:
        return (
            f"{source} rejected the request with status 413: the image is too large for it. Give"
            " smaller images."
        )
    return (
        f"{source} rejected the request with status {status}. Check the URL, and that it takes what"
        " is sent (body, form, template)."
    )


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> None:
        """Follow no redirect, because a token must not travel to another host.

        Args:
            req: the request.
            fp: the answer.
            code: its status.
            msg: its reason.
            headers: of the answer.
            newurl: where it redirects to.
        """
