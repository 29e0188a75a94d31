"""Folders at a URL, such as ``s3://bucket/run``: worked on in a local mirror, fetched first and
sent back as it fills.

Every file goes up whole, after it is whole here, so that a kill leaves whole files at both ends,
and the next command goes on from them.
"""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from robustbench_aigi.errors import DataError, UnavailableError, WriteError
from robustbench_aigi.extras import install_command
from robustbench_aigi.io.files import cache_folder, write_text
from robustbench_aigi.io.remote_lock import Lock, brief, reaching
from robustbench_aigi.progress import say_nothing

OWN = (".lock", ".tmp")
"""Ends of names that stay where they are: locks, and files not yet whole."""
EVERY = 20.0
"""Seconds between two sendings."""


class SentFile(BaseModel, frozen=True):
    """A file when both sides last had the same: what the remote side called its version, size and
    time here.
    """

    remote: str
    size: int
    time: int


class Index(BaseModel):
    """All files that both sides have had."""

    files: dict[str, SentFile] = {}


def is_url(place: str) -> bool:
    """Whether a place is not on this machine's disk."""
    return "://" in place


@contextmanager
def mirrored(
    url: str,
    *,
    write: bool = True,
    only: str = "",
    say: Callable[[str], object] = say_nothing,
) -> Iterator[Path]:
    """A local folder with what is at a URL; with ``write``, what changes in it is sent there, also
    while work goes on.

    ``only`` is how the names begin that are of interest; ``say`` is told of sendings that fail
        meanwhile. Raises: UserError: another process writes there. UnavailableError: no client for
        such URLs, or nobody answers. DataError: a file was changed at both ends.
    """
    mirror = Mirror(url, only)
    with ExitStack() as stack:
        if write:
            stack.enter_context(mirror.lock.held())
        with reaching(url):
            mirror.fetch()
        if write:
            stack.enter_context(mirror.sending(say))
        yield mirror.folder


class Mirror:
    """A folder at a URL and its mirror on this disk."""

    def __init__(self, url: str, only: str = "") -> None:
        import fsspec  # type: ignore[import-untyped]

        self.url, self.only = url.rstrip("/"), only
        self.folder = (
            cache_folder()
            / "mirrors"
            / hashlib.sha256(f"{self.url}/{only}".encode()).hexdigest()[:16]
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        self.known = self.folder.with_suffix(".json")
        try:
            self.fs, self.root = fsspec.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise UnavailableError(
                f"no client for {url}: {error}. For s3:// type `{install_command('s3')}`."
            ) from error
        self.lock = Lock(self.fs, self.root, self.url)
        try:
            self.index = Index.model_validate_json(self.known.read_bytes())
        except (OSError, ValidationError):
            self.index = Index()

    def fetch(self) -> None:
        """Bring what is new there; what is new here is kept, and goes up later."""
        there = self._listed()
        for name, info in there.items():
            if name.endswith(OWN):
                continue
            place, known, version = self._place(name), self.index.files.get(name), _version(info)
            if known is not None and known.remote == version and place.is_file():
                continue
            if known is not None and place.is_file() and _stamp(place) != (known.size, known.time):
                raise DataError(
                    f"{name} was changed both at {self.url} and in its mirror, {self.folder}."
                    " Delete the one that is not wanted."
                )
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary = place.with_suffix(f".{os.getpid()}.tmp")
            self.fs.get_file(f"{self.root}/{name}", str(temporary))
            temporary.replace(place)
            self._note(name, version)
        for name in set(self.index.files) - set(there):
            if (place := self._place(name)).is_file() and _stamp(place) == self._stamp_of(name):
                place.unlink()
            del self.index.files[name]
        self._save()

    def send(self) -> None:
        """Send what is new here; take away there what is gone here."""
        here = [p for p in self.folder.rglob("*") if p.is_file() and not p.name.endswith(OWN)]
        names = {path.relative_to(self.folder).as_posix(): path for path in here}
        sent = {}
        for name, path in sorted(names.items()):
            stamp = _stamp(path)
            if name not in self.index.files or stamp != self._stamp_of(name):
                self.fs.put_file(str(path), f"{self.root}/{name}")
                sent[name] = stamp
        there = self._listed() if sent else {}
        for name, (size, when) in sent.items():
            self.index.files[name] = SentFile(remote=_version(there[name]), size=size, time=when)
        for name in set(self.index.files) - set(names):
            self.fs.rm_file(f"{self.root}/{name}")
            del self.index.files[name]
        self._save()

    @contextmanager
    def sending(self, say: Callable[[str], object]) -> Iterator[None]:
        """Send every now and then while the body works, and once at its end, however it ends."""
        ended = threading.Event()

        def work() -> None:
            failing = False
            while not ended.wait(EVERY):
                try:
                    if not self.lock.mine():
                        return
                    self.send()
                    self.lock.claim()
                    failing = False
                except (
                    Exception
                ) as error:  # the network comes and goes; at the end all is tried once more
                    if not failing:
                        say(
                            f"cannot send to {self.url} for now: {brief(error)}. Work goes on in"
                            f" {self.folder}."
                        )
                    failing = True

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            try:
                mine = self.lock.mine()
                if mine:
                    self.send()
            except Exception as error:
                raise WriteError(
                    f"cannot send to {self.url}: {brief(error)}. All is in {self.folder}; repeat"
                    " the command to send it."
                ) from error
            if not mine:
                raise WriteError(
                    f"another process took {self.url} over, because this one could not be heard for"
                    f" five minutes. What was not sent before is in {self.folder} alone; repeat the"
                    " command when the other has ended."
                )

    def _listed(self) -> dict[str, dict[str, Any]]:
        """What is there now, by place in the folder."""
        self.fs.invalidate_cache()
        found = {
            name[len(self.root) + 1 :]: info
            for name, info in self.fs.find(self.root, detail=True).items()
        }
        return {name: info for name, info in found.items() if name.startswith(self.only)}

    def _place(self, name: str) -> Path:
        place = self.folder / name
        if not place.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(
                f"{self.url} holds a file called {name!r}, which leads out of the folder."
                " Delete it."
            )
        return place

    def _stamp_of(self, name: str) -> tuple[int, int]:
        return self.index.files[name].size, self.index.files[name].time

    def _note(self, name: str, version: str) -> None:
        size, when = _stamp(self._place(name))
        self.index.files[name] = SentFile(remote=version, size=size, time=when)

    def _save(self) -> None:
        write_text(self.known, self.index.model_dump_json())


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _version(info: dict[str, Any]) -> str:
    """What changes whenever the file does: the ETag where there is one."""
    token = next(
        (info[key] for key in ("ETag", "etag", "mtime", "created", "LastModified") if key in info),
        "",
    )
    return f"{token} {info['size']}"
