"""Folders at a URL, such as ``s3://bucket/run``: worked on in a local mirror.

The mirror is fetched first and sent back during the work, each file as a whole, so that a kill
leaves whole files at both ends and the next command resumes from them.

Files are transferred by fsspec (``get_file``, ``put_file``). Its transfers of whole folders are not
enough here: ``get`` and ``put`` copy everything each time, and ``rsync`` compares sizes or times,
which an object store sets on upload. None of them knows which files were removed on purpose,
notices a file that changed at both ends, or can run while the folder is being written. So the
mirror remembers, for every file, the version that both sides last had. Only one process writes,
which holds a lock with a heartbeat: see :mod:`~robustbench_aigi.io.remote_lock`.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from robustbench_aigi.errors import DataError, UnavailableError, WriteError
from robustbench_aigi.extras import install_command
from robustbench_aigi.io.files import cache_folder
from robustbench_aigi.io.mirror_index import MirrorIndex, local_stamp, remote_version
from robustbench_aigi.io.remote_lock import RemoteLock, describe_remote_errors, error_line
from robustbench_aigi.progress import say_nothing

LOCAL_SUFFIXES = (".lock", ".tmp")
"""Ends of names that are not transferred: locks, and unfinished files."""
SEND_SECONDS = 20.0
"""Seconds between two transfers to the URL."""


def is_url(place: str) -> bool:
    """Return whether a place is a URL.

    Args:
        place: path or URL.

    Example:
        >>> is_url("s3://bucket/run"), is_url("runs/mine")
        (True, False)
    """
    return "://" in place


@contextmanager
def mirrored(
    url: str,
    *,
    write: bool = True,
    only: str = "",
    say: Callable[[str], object] = say_nothing,
) -> Iterator[Path]:
    """Yield a local folder with the files at a URL; its changes are sent there.

    Args:
        url: of a folder.
        write: lock the URL, and send what changes in the folder, during the work and at its end.
        only: transfer only files whose relative path begins with this.
        say: called with a line when a transfer fails and will be repeated.

    Raises:
        UserError: another process writes there.
        UnavailableError: there is no client for such URLs, or the URL is out of reach.
        DataError: a file was changed at both ends.
        WriteError: the last transfer failed.
    """
    mirror = Mirror(url, only)
    with ExitStack() as stack:
        if write:
            stack.enter_context(mirror.lock.held())
        with describe_remote_errors(url):
            mirror.fetch()
        if write:
            stack.enter_context(mirror.sending(say))
        yield mirror.folder


class Mirror:
    """Folder at a URL, and its mirror on this disk.

    Args:
        url: of the folder.
        only: transfer only files whose relative path begins with this.

    Raises:
        UnavailableError: there is no client for such URLs.
    """

    def __init__(self, url: str, only: str = "") -> None:
        import fsspec  # type: ignore[import-untyped]

        self.url = url.rstrip("/")
        self.only = only
        name = hashlib.sha256(f"{self.url}/{only}".encode()).hexdigest()[:16]
        self.folder = cache_folder() / "mirrors" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.index_path = self.folder.with_suffix(".json")
        try:
            self.fs, self.root = fsspec.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UnavailableError(
                f"no client for {url}: {error}. For s3:// type `{install_command('s3')}`."
            ) from error
        self.lock = RemoteLock(self.fs, self.root, self.url)
        self.index = MirrorIndex.read(self.index_path)

    def fetch(self) -> None:
        """Fetch what is new at the URL; what is new in the mirror stays, and is sent later.

        Raises:
            DataError: a file was changed at both ends.
        """
        remote = self._remote_files()
        for name, info in remote.items():
            if not name.endswith(LOCAL_SUFFIXES):
                self._fetch_file(name, remote_version(info))
        for name in set(self.index.files) - set(remote):
            path = self._local_path(name)
            if path.is_file() and local_stamp(path) == self.index.files[name].stamp:
                path.unlink()
            del self.index.files[name]
        self.index.write(self.index_path)

    def _fetch_file(self, name: str, version: str) -> None:
        """Fetch a file unless the mirror has this version."""
        path = self._local_path(name)
        known = self.index.files.get(name)
        if known is not None and path.is_file():
            if known.remote == version:
                return
            if local_stamp(path) != known.stamp:
                raise DataError(
                    f"{name} was changed both at {self.url} and in its mirror, {self.folder}."
                    " Delete the one that is not wanted."
                )
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        self.fs.get_file(f"{self.root}/{name}", str(temporary))
        temporary.replace(path)
        self.index.remember(name, version, local_stamp(path))

    def send(self) -> None:
        """Send what is new in the mirror, and remove at the URL what was removed here."""
        local = self._local_files()
        sent = {}
        for name, path in sorted(local.items()):
            stamp = local_stamp(path)
            known = self.index.files.get(name)
            if known is None or stamp != known.stamp:
                self.fs.put_file(str(path), f"{self.root}/{name}")
                sent[name] = stamp
        remote = self._remote_files() if sent else {}
        for name, stamp in sent.items():
            self.index.remember(name, remote_version(remote[name]), stamp)
        for name in set(self.index.files) - set(local):
            self.fs.rm_file(f"{self.root}/{name}")
            del self.index.files[name]
        self.index.write(self.index_path)

    @contextmanager
    def sending(self, say: Callable[[str], object]) -> Iterator[None]:
        """Send every :data:`SEND_SECONDS` inside a ``with`` block, and at its end.

        Args:
            say: called with a line when a transfer fails and will be repeated.

        Raises:
            WriteError: the last transfer failed, or another process took the lock over.
        """
        ended = threading.Event()
        thread = threading.Thread(target=self._send_until, args=(ended, say), daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            self._send_last()

    def _send_until(self, ended: threading.Event, say: Callable[[str], object]) -> None:
        """Send now and then. Report the first of several failures in a row."""
        is_failing = False
        while not ended.wait(SEND_SECONDS):
            try:
                if not self.lock.is_mine():
                    return
                self.send()
                self.lock.renew()
                is_failing = False
            except Exception as error:  # of any client; the last transfer raises it
                if not is_failing:
                    say(
                        f"cannot send to {self.url} for now: {error_line(error)}. Work continues"
                        f" in {self.folder}."
                    )
                is_failing = True

    def _send_last(self) -> None:
        try:
            is_mine = self.lock.is_mine()
            if is_mine:
                self.send()
        except Exception as error:  # of any client
            raise WriteError(
                f"cannot send to {self.url}: {error_line(error)}. Everything is in {self.folder};"
                " rerun the command to send it."
            ) from error
        if not is_mine:
            raise WriteError(
                f"another process took over {self.url} after this one missed its heartbeat for"
                f" five minutes. What was not sent before is only in {self.folder}; rerun the"
                " command when the other process has ended."
            )

    def _remote_files(self) -> dict[str, dict[str, Any]]:
        """Return the files at the URL: relative path to fsspec's information."""
        self.fs.invalidate_cache()
        found = self.fs.find(self.root, detail=True)
        files = {path[len(self.root) + 1 :]: info for path, info in found.items()}
        return {name: info for name, info in files.items() if name.startswith(self.only)}

    def _local_files(self) -> dict[str, Path]:
        """Return the files in the mirror that are transferred, by relative path."""
        return {
            path.relative_to(self.folder).as_posix(): path
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.endswith(LOCAL_SUFFIXES)
        }

    def _local_path(self, name: str) -> Path:
        path = self.folder / name
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(
                f"{self.url} holds a file called {name!r}, which leads out of the folder."
                " Delete it."
            )
        return path
