"""Who may write to a folder at a URL, and what is said when it cannot be reached."""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from robustbench_aigi.errors import UnavailableError, UserError

LOCK = ".mirror.lock"
STALE = 300.0
"""Seconds after which a lock whose holder says nothing is nobody's."""


class Lock:
    """A file at a URL that says which process writes there, and when it was last heard of."""

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self.fs, self.place, self.url = fs, f"{root}/{LOCK}", url

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, so that no other process writes there. Raises ``UserError``."""
        with reaching(self.url):
            try:
                self.claim("create")
            except FileExistsError:
                holder = self.holder()
                if time.time() - float(holder.get("time", 0)) < STALE:
                    raise UserError(
                        f"another process works on {self.url} ({holder.get('host')}, process"
                        f" {holder.get('process')}). Wait for its end, or stop it and wait five"
                        " minutes; or give another --out."
                    ) from None
                self.claim()
        try:
            yield
        finally:
            with reaching(self.url):
                if self.mine():
                    self.fs.rm_file(self.place)

    def claim(self, mode: Literal["create", "overwrite"] = "overwrite") -> None:
        """Say that this process writes there, now. Raises ``FileExistsError`` if it was to create
        the lock.
        """
        self.fs.pipe_file(self.place, json.dumps(me() | {"time": time.time()}).encode(), mode=mode)

    def holder(self) -> dict[str, Any]:
        """Who holds the folder; nobody if there is no lock."""
        self.fs.invalidate_cache()
        return dict(json.loads(self.fs.cat_file(self.place))) if self.fs.exists(self.place) else {}

    def mine(self) -> bool:
        """Whether this process holds it."""
        return me().items() <= self.holder().items()


def me() -> dict[str, Any]:
    """This process, among all machines'."""
    return {"host": socket.gethostname(), "process": os.getpid()}


@contextmanager
def reaching(url: str) -> Iterator[None]:
    """Raise ``UnavailableError``, with a way on, for what a client says."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # every client has its own
        raise UnavailableError(
            f"cannot reach {url}: {brief(error)}. See that it exists and that the keys to it are in"
            " the environment, then repeat the command; what is finished is kept."
        ) from error


def brief(error: Exception) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {str(error)[:300]}"
