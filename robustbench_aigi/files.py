"""Files that are whole or not there: written under a temporary name, flushed, renamed."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from robustbench_aigi.errors import CannotWrite


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise ``CannotWrite``, with a way on, for what the system says against writing ``path``."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        raise CannotWrite(
            f"cannot write to {path}: {reason}. Make room and repeat the command, which goes on from what is finished; "
            "or give another folder with --out."
        ) from error


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it; makes the folder if need be.

    Raises ``CannotWrite``, and leaves no part of the file.
    """
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(temporary)
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _umask() -> int:
    """Some writers make files that only their owner can read; a result is as readable as any other file."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
