"""A conversation with an endpoint about one image: log in, publish, submit, poll."""

import base64
import hashlib
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.request import Request

from robustbench_aigi.detectors.external.http.path import values_at
from robustbench_aigi.detectors.external.http.requests import (
    endpoint_request,
    image_request,
    json_request,
    quote_part,
)
from robustbench_aigi.detectors.external.http.spec import EndpointSpec, Login, Poll
from robustbench_aigi.detectors.external.http.template import (
    PLACEHOLDER_PATTERN,
    Values,
    fill,
    fill_text,
    read_secret,
    uses,
)
from robustbench_aigi.detectors.external.http.transport import RejectedError, Transport
from robustbench_aigi.errors import LogitsError, UnavailableError
from robustbench_aigi.io.files import atomic_write

ACCEPTED_STATUS = 202
"""Status of HTTP for a request that will be answered later."""
UNAUTHORISED_STATUS = 401


class Session:
    """Asks an endpoint about images.

    Secrets are read when a request is sent; a login's token stays in memory.

    Args:
        spec: the endpoint.
        source: where it is, for messages.
    """

    def __init__(self, spec: EndpointSpec, source: str) -> None:
        self.spec = spec
        self.source = source
        self.transport = Transport(spec, source)
        self._token: str | None = None
        self._expires = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_token": None, "_expires": 0.0}

    def ask(self, png: bytes) -> Any:
        """Return the answer to an image, a JSON value.

        Args:
            png: the image as a PNG file.

        Raises:
            UnavailableError: no answer, a secret is not set, or the budget is spent.
            LogitsError: the answer is no JSON, or comes later and nothing says how to ask for it.
        """
        values = self._values(png)
        with self._published(png):
            status, answer = self._authorised(lambda: image_request(self.spec, png, values))
            if self.spec.poll is not None:
                return self._polled(self.spec.poll, answer, values)
        if status == ACCEPTED_STATUS:
            raise LogitsError(
                f"{self.source} took the image and will answer later (status {status}). Write where"
                " to ask for the answer: poll={'url': '.../{path:id}', 'done': 'status', 'values':"
                " ['done']}."
            )
        return answer

    def _values(self, png: bytes) -> Values:
        """Return what makes the text of each placeholder, for one image."""
        encoded = base64.b64encode(png).decode()
        digest = hashlib.sha256(png).hexdigest()
        identity = str(uuid.uuid4())
        values: dict[str, Callable[[], str]] = {
            "base64": lambda: encoded,
            "data_uri": lambda: f"data:image/png;base64,{encoded}",
            "sha256": lambda: digest,
            "uuid": lambda: identity,
            "model": lambda: self.spec.model,
            "label": lambda: self.spec.label,
            "token": self._current_token,
        }
        values["image_url"] = lambda: fill_text(self.spec.image_url, values, quote_part)
        return values

    def _current_token(self) -> str:
        """Return the token, after a login where one is needed."""
        if self.spec.login is None:
            return read_secret(self.spec.token_env or "")
        if not self._token or time.monotonic() >= self._expires:
            return self._log_in(self.spec.login)
        return self._token

    def _log_in(self, login: Login) -> str:
        _, answer = self.transport.ask(
            lambda: json_request(fill_text(login.url, {}), fill(login.template, {}))
        )
        (token,) = values_at(answer, login.token, f"the login of {self.source}")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise LogitsError(
                f"the login of {self.source} gave no token at {login.token!r}. Write another path."
            )
        self._token = token
        self._expires = time.monotonic() + 3600 * login.hours
        return token

    def _authorised(self, make: Callable[[], Request]) -> tuple[int, Any]:
        """Ask; where a login's token is no longer accepted, log in once more and ask again."""
        if self.spec.login is not None:
            self._current_token()  # before the request takes its turn
        try:
            return self.transport.ask(make)
        except RejectedError as error:
            if error.status != UNAUTHORISED_STATUS or self.spec.login is None:
                raise
        self._token = None
        self._current_token()
        return self.transport.ask(make)

    def _polled(self, poll: Poll, first: Any, values: Values) -> Any:
        """Return the answer once it is there.

        Raises:
            UnavailableError: it does not come, or the service gives up.
        """
        url = self._poll_url(poll, first, values)
        ends = time.monotonic() + poll.longest
        while True:
            status, answer = self._authorised(
                lambda: endpoint_request(self.spec, url, None, values, "GET")
            )
            state = None if status == ACCEPTED_STATUS else _state(answer, poll)
            if state in poll.failed:
                raise UnavailableError(
                    f"{self.source} could not judge an image: {poll.done} is {state!r}. Try it"
                    " alone."
                )
            if state in poll.values:
                return answer
            if time.monotonic() + poll.every > ends:
                raise UnavailableError(
                    f"{self.source} gave no answer in {poll.longest:g} seconds: {poll.done} was"
                    f" never one of {', '.join(poll.values)}. Raise longest in its [poll]."
                )
            time.sleep(poll.every)

    def _poll_url(self, poll: Poll, first: Any, values: Values) -> str:
        """Return the URL to ask for the answer, filled from the first answer."""
        own = dict(values)
        for match in PLACEHOLDER_PATTERN.finditer(poll.url):
            if match[1] == "path":
                own[f"path:{match[2]}"] = partial(str, values_at(first, match[2], self.source)[0])
        return fill_text(poll.url, own, quote_part)

    @contextmanager
    def _published(self, png: bytes) -> Iterator[None]:
        """Where a service takes only URLs, keep the image in the upload folder inside."""
        if not uses(self.spec.sent, "image_url"):
            yield
            return
        place = Path(self.spec.upload_folder) / f"{hashlib.sha256(png).hexdigest()}.png"
        atomic_write(place, lambda temporary: temporary.write_bytes(png))
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


def _state(answer: Any, poll: Poll) -> str | None:
    """Return the text of the field that says whether an answer is there; None if it is missing."""
    try:
        state = values_at(answer, poll.done, "")[0]
    except LogitsError:
        return None
    return str(state).lower() if isinstance(state, bool) else str(state)
