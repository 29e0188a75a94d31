"""Atomic files: written under a temporary name, flushed to the disk, then renamed."""

import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from robustbench_aigi.errors import DataError, UserError, WriteError

TEMPORARY_NAME = re.compile(r"\.\d+\.tmp$")
"""Matches the temporary files of :func:`atomic_write`."""
DAMAGE_ERRORS = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    NotImplementedError,
    MemoryError,
    OverflowError,
)
"""Errors that reading a damaged file may raise."""
DELETE_AND_RERUN = (
    "Delete it and rerun the command that wrote it, which resumes from finished shards."
)


def cache_folder() -> Path:
    """Return the folder for what can be downloaded or computed again.

    It is ``$ROBUSTBENCH_AIGI_CACHE`` where that is set, else a folder in the user's cache.
    """
    own = os.environ.get("ROBUSTBENCH_AIGI_CACHE")
    shared = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(own) if own else shared / "robustbench-aigi"


@contextmanager
def describe_write_errors(path: Path) -> Iterator[None]:
    """Turn an error of writing ``path`` into a ``WriteError`` that says what to do next."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise WriteError(
            f"cannot write to {path}: {reason}. Free some space and rerun the command to resume, or"
            " give another folder with --out."
        ) from error


def check_writable(folder: Path) -> None:
    """Create a ``folder``, and raise ``WriteError`` if nothing can be written there."""
    with describe_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}.tmp"
        probe.write_text("")
        probe.unlink()


@contextmanager
def describe_read_errors(path: Path, next_step: str = DELETE_AND_RERUN) -> Iterator[None]:
    """Turn an error of reading a file that this project wrote into a ``DataError``.

    Args:
        path: the file.
        next_step: sentence that says what to do next.
    """
    try:
        yield
    except UserError:
        raise
    except DAMAGE_ERRORS as error:
        reason = " ".join(str(error).split())[:300]
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {reason}). {next_step}"
        ) from error


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it to ``path``.

    The folder is created if needed. Several threads may write at the same time.

    Args:
        path: the file to create or replace.
        write: gets the temporary path and writes the whole content there.

    Raises:
        WriteError: nothing of the file is left behind.
    """
    temporary = path.with_name(f"{path.stem}.{next(_SERIAL)}.{os.getpid()}.tmp")
    with describe_write_errors(path):
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
    """Create an empty file and return its permissions, which follow the user's umask.

    Some writers create files that only their owner can read; a result should be as readable as any
    other file.
    """
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
    try:
        return stat.S_IMODE(os.fstat(file).st_mode)
    finally:
        os.close(file)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 ``text`` to ``path`` atomically."""
    atomic_write(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
