"""Files that are whole or not there: written under a temporary name, flushed, renamed."""

import itertools
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from safetensors import SafetensorError

from robustbench_aigi.errors import BadData, CannotWrite, UserError

if sys.platform != "win32":
    import fcntl

PATIENCE = 1.0
"""Seconds to wait for a lock before another process is said to hold it: who only looks has let go
long before.
"""
TEMPORARY = re.compile(r"\.\d+\.tmp$")
"""How the names of files end that :func:`write_whole` has not finished."""
DAMAGED = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    NotImplementedError,
    MemoryError,
    OverflowError,
)
"""What reading a damaged file may raise; a number too large for its column is the last."""


def cache_folder() -> Path:
    """Where what can be made or fetched again is kept: ``$ROBUSTBENCH_AIGI_CACHE``, else in the
    user's cache.
    """
    own = os.environ.get("ROBUSTBENCH_AIGI_CACHE")
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(own) if own else shared / "robustbench-aigi"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise ``CannotWrite``, with a way on, for what the system says against writing ``path``."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CannotWrite(
            f"cannot write to {path}: {reason}. Make room and repeat the command, which goes on"
            " from what is finished; or give another folder with --out."
        ) from error


@contextmanager
def reading(path: Path, way_on: str) -> Iterator[None]:
    """Raise ``BadData``, with a way on, for what is wrong with the content of a file that this
    project once wrote.
    """
    try:
        yield
    except UserError:
        raise
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:300]
        raise BadData(f"{path} is damaged ({type(error).__name__}: {reason}). {way_on}") from error


@contextmanager
def alone(place: Path) -> Iterator[None]:
    """Hold a folder, or a file to be written, so that no other process writes there; the lock dies
    with its holder.

    What killed writers left half written there is removed.

    Raises ``UserError`` if another process holds it, ``CannotWrite`` if nothing can be written
    there.
    """
    path = _lock_of(place)
    with writing(place):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=PATIENCE, is_singleton=True)
        try:
            lock.acquire(poll_interval=0.01)
        except Timeout:
            raise UserError(
                f"another process works on {place}. Wait for its end, or stop it and repeat this"
                " command, which goes on from what is finished; or give another --out."
            ) from None
    try:
        if lock.lock_counter == 1:
            _clear(place)
        yield
    finally:
        lock.release()


def _clear(place: Path) -> None:
    """Remove temporary files of :func:`write_whole`: whoever wrote them no longer does, because the
    place is held.
    """
    one = place.suffix == ".safetensors"
    for path in place.parent.glob(f"{place.stem}.*.tmp") if one else place.rglob("*.tmp"):
        if TEMPORARY.search(path.name):
            path.unlink(missing_ok=True)


def held(folder: Path) -> bool:
    """Whether a process works in a folder at this moment; looking never stands in the way of one
    that begins to.
    """
    path = _lock_of(folder)
    if sys.platform == "win32":
        try:
            with FileLock(path, timeout=0):
                return False
        except Timeout:
            return True
    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that several may look at once
    except BlockingIOError:
        return True
    finally:
        os.close(file)  # and with it the lock
    return False


def _lock_of(place: Path) -> Path:
    return (
        place.parent / f".{place.name}.lock" if place.suffix == ".safetensors" else place / ".lock"
    )


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it; makes the folder if need
    be.

    Threads may write at once. Raises ``CannotWrite``, and leaves no part of the file.
    """
    temporary = path.with_name(f"{path.stem}.{next(_SERIAL)}.{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            mode = _created(temporary)
            write(temporary)
            temporary.chmod(mode)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


_SERIAL = itertools.count()


def _created(path: Path) -> int:
    """Create an empty file, and return its permissions: those that the user's umask leaves any
    file.

    Some writers make files of their own that only their owner can read; a result is as readable as
    any other file.
    """
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
    try:
        return stat.S_IMODE(os.fstat(file).st_mode)
    finally:
        os.close(file)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
