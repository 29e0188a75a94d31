"""What a mirror remembers of each file: the version that both sides last had."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from robustbench_aigi.io.files import write_text

VERSION_KEYS = ("ETag", "etag", "mtime", "created", "LastModified")
"""Keys of fsspec's file information that change with the file, the best first."""


class SentFile(BaseModel, frozen=True):
    """A file when both sides last had the same.

    Attributes:
        remote: version at the URL.
        size: in bytes.
        time: of the last change in the mirror, in nanoseconds.
    """

    remote: str
    size: int
    time: int

    @property
    def stamp(self) -> tuple[int, int]:
        """Size and time in the mirror."""
        return self.size, self.time


class MirrorIndex(BaseModel):
    """Files that both sides have had, by name.

    Attributes:
        files: relative path, with ``/``, to its state.
    """

    files: dict[str, SentFile] = {}

    @classmethod
    def read(cls, path: Path) -> "MirrorIndex":
        """Return what is stored at a path; an empty index if that is missing or damaged."""
        try:
            return cls.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return cls()

    def write(self, path: Path) -> None:
        """Store it at a path."""
        write_text(path, self.model_dump_json())

    def remember(self, name: str, version: str, stamp: tuple[int, int]) -> None:
        """Note that both sides have the same file.

        Args:
            name: its relative path.
            version: at the URL, see :func:`remote_version`.
            stamp: in the mirror, see :func:`local_stamp`.
        """
        size, when = stamp
        self.files[name] = SentFile(remote=version, size=size, time=when)


def local_stamp(path: Path) -> tuple[int, int]:
    """Return size and time of the last change of a file."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def remote_version(info: dict[str, Any]) -> str:
    """Return a text that changes whenever a file at the URL does."""
    token = next((info[key] for key in VERSION_KEYS if key in info), "")
    return f"{token} {info['size']}"
