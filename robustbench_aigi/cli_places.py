"""The places that a command names."""

import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from robustbench_aigi.storage import is_url, mirrored


class Places:
    """Paths stay paths, URLs become mirrors until the command ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def to_write(self, place: str) -> Path:
        """A folder to write to, or to read and to write to."""
        return self._taken(place, write=True)

    def to_read(self, place: str) -> Path:
        """A folder to read from."""
        return self._taken(place, write=False)

    def file_to_write(self, place: str) -> Path:
        """A file to write, beside those that begin with its name without the suffix, to read and to write."""
        if not is_url(place):
            return Path(place)
        folder, _, name = place.rpartition("/")
        return self._taken(folder, write=True, only=name.rpartition(".")[0] or name) / name

    def _taken(self, place: str, *, write: bool, only: str = "") -> Path:
        if not is_url(place):
            return Path(place)
        return self._stack.enter_context(mirrored(place, write=write, only=only, say=_tell))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _tell(line: str) -> None:
    sys.stderr.write(f"warning: {line}\n")


PLACES = Places()
