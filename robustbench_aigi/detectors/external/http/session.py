"""A conversation with an endpoint about one image: log in, publish, submit, poll."""

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request

from robustbench_aigi.detectors.external.http.answer import found_at
from robustbench_aigi.detectors.external.http.spec import EndpointSpec, Login, Poll
from robustbench_aigi.detectors.external.http.template import (
    PLACEHOLDER,
    fill,
    fill_text,
    secret,
    uses,
)
from robustbench_aigi.detectors.external.http.transport import RefusedError, Transport
from robustbench_aigi.errors import LogitsError, UnavailableError
from robustbench_aigi.io.files import atomic_write

Values = Mapping[str, Callable[[], str]]


class Session:
    """Asks an endpoint about images. Secrets are read when a request is sent; a login's token stays
    in memory.

    Args:
        spec: the endpoint. source: where it is, for messages.
    """

    def __init__(self, spec: EndpointSpec, source: str) -> None:
        self.spec, self.source = spec, source
        self.transport = Transport(spec, source)
        self._token, self._expires = "", 0.0

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_token": "", "_expires": 0.0}

    def ask(self, png: bytes) -> Any:
        """Return the answer to an image, a JSON value. Raises as :class:`Transport` does."""
        values = self._values(png)
        with self._published(png):
            status, answer = self._authorised(lambda: submission(self.spec, png, values))
            if self.spec.poll is not None:
                return self._polled(self.spec.poll, answer, values)
        if status == 202:
            raise LogitsError(
                f"{self.source} took the image and will answer later (status 202). Write where to"
                " ask for the answer: poll={'url': '.../{path:id}', 'done': 'status', 'values':"
                " ['done']}."
            )
        return answer

    def _values(self, png: bytes) -> Values:
        encoded = base64.b64encode(png).decode()
        digest, identity = hashlib.sha256(png).hexdigest(), str(uuid.uuid4())
        values: dict[str, Callable[[], str]] = {
            "base64": lambda: encoded,
            "data_uri": lambda: f"data:image/png;base64,{encoded}",
            "sha256": lambda: digest,
            "uuid": lambda: identity,
            "model": lambda: self.spec.model,
            "label": lambda: self.spec.label,
            "token": self._authorisation,
        }
        values["image_url"] = lambda: fill_text(self.spec.image_url, values, _quoted)
        return values

    def _authorisation(self) -> str:
        """The token, after a login where one is needed."""
        if self.spec.login is None:
            return secret(self.spec.token_env or "")
        if not self._token or time.monotonic() >= self._expires:
            self._log_in(self.spec.login)
        return self._token

    def _log_in(self, login: Login) -> None:
        _, answer = self.transport.ask(
            lambda: _json_request(fill_text(login.url, {}), fill(login.template, {}))
        )
        (token,) = found_at(answer, login.token, f"the login of {self.source}")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise LogitsError(
                f"the login of {self.source} gave no token at {login.token!r}. Write another path."
            )
        self._token, self._expires = token, time.monotonic() + 3600 * login.hours

    def _authorised(self, make: Callable[[], Request]) -> tuple[int, Any]:
        """Ask; where a login's token is no longer taken, log in once more and ask again."""
        if self.spec.login is not None:
            self._authorisation()  # before the request takes its turn
        try:
            return self.transport.ask(make)
        except RefusedError as error:
            if error.status != 401 or self.spec.login is None:
                raise
        self._token = ""
        self._authorisation()
        return self.transport.ask(make)

    def _polled(self, poll: Poll, first: Any, values: Values) -> Any:
        """The answer once it is there. Raises ``UnavailableError`` if it does not come, or the
        service gives up.
        """
        paths = [match[2] for match in PLACEHOLDER.finditer(poll.url) if match[1] == "path"]
        known = {path: str(_one(found_at(first, path, self.source))) for path in paths}
        here = {f"path:{path}": lambda text=text: text for path, text in known.items()}
        url = fill_text(poll.url, {**values, **here}, _quoted)
        ends = time.monotonic() + poll.longest
        while True:
            status, answer = self._authorised(lambda: _request(self.spec, url, None, values, "GET"))
            state = _state(answer, poll) if status != 202 else ""
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

    @contextmanager
    def _published(self, png: bytes) -> Iterator[None]:
        """Where a service takes URLs only, the image lies in the upload folder for as long as it is
        asked about.
        """
        if not uses(self.spec.sent, "image_url"):
            yield
            return
        place = Path(self.spec.upload_folder) / f"{hashlib.sha256(png).hexdigest()}.png"
        atomic_write(place, lambda temporary: temporary.write_bytes(png))
        try:
            yield
        finally:
            place.unlink(missing_ok=True)


def submission(spec: EndpointSpec, png: bytes, values: Values) -> Request:
    """Return the request about an image."""
    url = fill_text(spec.url, values, _quoted)
    if spec.body == "raw":
        return _request(spec, url, png, values, "POST", "image/png")
    if spec.body == "json":
        content = json.dumps(fill(spec.template, values)).encode()
        return _request(spec, url, content, values, "POST", "application/json")
    boundary = uuid.uuid4().hex
    form = {name: fill_text(text, values) for name, text in spec.form.items()}
    content = multipart(form, (spec.image_field, spec.file_name, png), boundary)
    return _request(spec, url, content, values, "POST", f"multipart/form-data; boundary={boundary}")


def multipart(form: Mapping[str, str], file: tuple[str, str, bytes], boundary: str) -> bytes:
    """Return a form with a PNG file, as ``multipart/form-data``.

    Args:
        form: field to text. file: field, file name and bytes.
    """
    field, name, png = file
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{text}\r\n'.encode()
        for key, text in form.items()
    ]
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        "Content-Type: image/png\r\n\r\n"
    )
    return b"".join([*parts, head.encode(), png, f"\r\n--{boundary}--\r\n".encode()])


def _request(
    spec: EndpointSpec, url: str, content: bytes | None, values: Values, method: str, kind: str = ""
) -> Request:
    """A request with the endpoint's headers, which would not follow a redirect."""
    request = Request(url, data=content, method=method)
    headers = {"Accept": "application/json"} | ({"Content-Type": kind} if kind else {})
    headers |= {name: fill_text(text, values) for name, text in spec.headers.items()}
    if spec.token_env or spec.login:
        headers["Authorization"] = fill_text(spec.authorization, values)
    for name, text in headers.items():
        request.add_unredirected_header(name, text)
    return request


def _json_request(url: str, template: object) -> Request:
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    return Request(url, data=json.dumps(template).encode(), headers=headers, method="POST")


def _state(answer: Any, poll: Poll) -> str:
    """The text of the field that says whether an answer is there; empty while it has none."""
    try:
        state = _one(found_at(answer, poll.done, ""))
    except LogitsError:
        return ""
    return str(state).lower() if isinstance(state, bool) else str(state)


def _one(values: list[Any]) -> Any:
    return values[0]


def _quoted(text: str) -> str:
    """Percent-encoded for one part of a URL; a slash is left, as in the name of a model on a
    hub.
    """
    return quote(text, safe="/")
