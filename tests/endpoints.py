"""A server on this machine that answers as a service does, and says what it was sent."""

import base64
import io
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import numpy as np
from PIL import Image


class Seen(NamedTuple):
    """A request: its path with the query, its headers in lower case, its body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def form(self) -> dict[str, bytes]:
        """The fields of a multipart form, a file's bytes among them, with ``FIELD:type`` and
        ``FIELD:filename``.
        """
        message = message_from_bytes(
            b"Content-Type: " + self.headers["content-type"].encode() + b"\r\n\r\n" + self.body
        )
        fields: dict[str, bytes] = {}
        for part in message.get_payload():
            name = str(part.get_param("name", header="content-disposition"))  # type: ignore[union-attr]
            fields[name] = part.get_payload(decode=True)  # type: ignore[union-attr, assignment]
            if (file_name := part.get_filename()) is not None:  # type: ignore[union-attr]
                fields[f"{name}:filename"] = file_name.encode()
                fields[f"{name}:type"] = part.get_content_type().encode()  # type: ignore[union-attr]
        return fields


class Reply(NamedTuple):
    """What is sent back."""

    status: int
    answer: Any = None
    headers: Mapping[str, str] = {}


class Server:
    """Answers every request by ``handle``; a handler that raises gives status 400, as to a
    malformed request.
    """

    def __init__(self, handle: Callable[[Seen], Reply]) -> None:
        self.handle = handle
        self.seen: list[Seen] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                body = self.rfile.read(int(headers.get("content-length", 0)))
                seen = Seen(self.command, self.path, headers, body)
                server.seen.append(seen)
                try:
                    reply = server.handle(seen)
                except (AssertionError, KeyError, ValueError, TypeError):
                    reply = Reply(400, {"error": "malformed"})
                text = json.dumps(reply.answer).encode()
                self.send_response(reply.status)
                for name, value in {"Content-Length": str(len(text)), **reply.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                with suppress(ConnectionError):
                    self.wfile.write(text)

            do_GET = do_POST  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def serving(handle: Callable[[Seen], Reply]) -> Iterator[Server]:
    """A server for as long as the context."""
    made = Server(handle)
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield made
    finally:
        made.server.shutdown()
        made.server.server_close()
        thread.join()


def brightness(png: bytes) -> float:
    """The score of all these services: the mean of a PNG file's pixels, from 0 to 1."""
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return float(np.asarray(image).mean()) / 255


def decoded(text: str) -> float:
    """The brightness of a PNG file in base64."""
    return brightness(base64.b64decode(text, validate=True))
