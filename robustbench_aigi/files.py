"""Files that are whole or not there: written under a temporary name, flushed, renamed."""

import os
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary file beside ``path``, then rename it; makes the folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    write(temporary)
    temporary.chmod(0o666 & ~_umask())
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def _umask() -> int:
    """Some writers make files that only their owner can read; a result is as readable as any other file."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole."""
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
