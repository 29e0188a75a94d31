"""Locks: one process at a time writes to a folder."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from robustbench_aigi.errors import UserError
from robustbench_aigi.io.files import TEMPORARY_NAME, describe_write_errors

if sys.platform != "win32":
    import fcntl

LOCK_PATIENCE = 1.0
"""Seconds to wait for a lock, longer than :func:`is_locked` ever holds one."""
CHECKPOINT_SUFFIX = ".safetensors"
"""Ending of the files that are locked by themselves; all else is a folder."""


@contextmanager
def exclusive_lock(place: Path) -> Iterator[None]:
    """Hold a folder, or a file to be written, so that no other process writes there.

    The lock ends with its process. Temporary files that killed processes left behind are removed.

    Args:
        place: the folder, or a checkpoint (.safetensors).

    Raises:
        UserError: another process holds it.
        WriteError: nothing can be written there.
    """
    path = _lock_of(place)
    with describe_write_errors(place):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path, timeout=LOCK_PATIENCE, is_singleton=True)
        try:
            lock.acquire(poll_interval=0.01)
        except Timeout:
            raise UserError(
                f"{place} is in use by another process. Wait for it, or stop it and rerun this"
                " command to resume; or give another --out."
            ) from None
    try:
        if lock.lock_counter == 1:
            _remove_temporary_files(place)
        yield
    finally:
        lock.release()


def _remove_temporary_files(place: Path) -> None:
    """Remove unfinished files of :func:`atomic_write`. The lock is held, so nobody writes them."""
    if place.suffix == CHECKPOINT_SUFFIX:
        found = place.parent.glob(f"{place.stem}.*.tmp")
    else:
        found = place.rglob("*.tmp")
    for path in found:
        if TEMPORARY_NAME.search(path.name):
            path.unlink(missing_ok=True)


def is_locked(folder: Path) -> bool:
    """Return whether a process holds a ``folder``; a starting process is never blocked by this."""
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
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: several may look at once
    except BlockingIOError:
        return True
    finally:
        os.close(file)  # releases the lock
    return False


def _lock_of(place: Path) -> Path:
    if place.suffix == CHECKPOINT_SUFFIX:
        return place.parent / f".{place.name}.lock"
    return place / ".lock"
