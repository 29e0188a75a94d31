"""Lock of a folder at a URL: one process at a time writes there.

fsspec has no locks. This one is a file that is created only if it is not there, which names the
writing process. That process renews it while it works; a lock that was not renewed for
:data:`STALE_SECONDS` belongs to a process that was killed, and may be taken over.
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from robustbench_aigi.errors import UnavailableError, UserError

LOCK_NAME = ".mirror.lock"
"""Name of the lock file in the folder."""
STALE_SECONDS = 300.0
"""Seconds after which a lock that was not renewed belongs to nobody."""
MAX_REASON = 300
"""Characters of a client's error that messages repeat."""


class RemoteLock:
    """File at a URL that names the process which writes there, and when it last renewed the lock.

    Args:
        fs: file system of fsspec.
        root: the folder's path in it.
        url: of the folder, for messages.
    """

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self.fs = fs
        self.path = f"{root}/{LOCK_NAME}"
        self.url = url

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock inside a ``with`` block.

        Raises:
            UserError: another process holds it.
            UnavailableError: the URL is out of reach.
        """
        with describe_remote_errors(self.url):
            self._acquire()
        try:
            yield
        finally:
            with describe_remote_errors(self.url):
                if self.is_mine():
                    self.fs.rm_file(self.path)

    def _acquire(self) -> None:
        try:
            self.renew("create")
        except FileExistsError:
            holder = self.holder()
            if time.time() - float(holder.get("time", 0)) < STALE_SECONDS:
                raise UserError(
                    f"{self.url} is in use by another process ({holder.get('host')}, process"
                    f" {holder.get('process')}). Wait for it, or stop it and wait five minutes; or"
                    " give another --out."
                ) from None
            self.renew()

    def renew(self, mode: Literal["create", "overwrite"] = "overwrite") -> None:
        """Write this process and the time into the lock file.

        Args:
            mode: "create" raises ``FileExistsError`` if there is a lock.
        """
        content = this_process() | {"time": time.time()}
        self.fs.pipe_file(self.path, json.dumps(content).encode(), mode=mode)

    def holder(self) -> dict[str, Any]:
        """Return the content of the lock file; empty if there is none."""
        self.fs.invalidate_cache()
        if not self.fs.exists(self.path):
            return {}
        return dict(json.loads(self.fs.cat_file(self.path)))

    def is_mine(self) -> bool:
        """Return whether this process holds the lock."""
        return this_process().items() <= self.holder().items()


def this_process() -> dict[str, Any]:
    """Return what names this process among those of all machines."""
    return {"host": socket.gethostname(), "process": os.getpid()}


@contextmanager
def describe_remote_errors(url: str) -> Iterator[None]:
    """Turn any error of a client for ``url`` into an ``UnavailableError`` that says what to do."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # every client has errors of its own
        raise UnavailableError(
            f"cannot reach {url}: {error_line(error)}. Check that it exists and that its"
            " credentials are in the environment, then rerun the command to resume."
        ) from error


def error_line(error: Exception) -> str:
    """Return the type and the message of an error, cut to a readable length.

    Args:
        error: any.

    Example:
        >>> error_line(OSError("no room"))
        'OSError: no room'
    """
    return f"{type(error).__name__}: {str(error)[:MAX_REASON]}"
