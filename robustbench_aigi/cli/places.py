"""The places that a command names."""

import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, unquote

from robustbench_aigi.errors import DataError
from robustbench_aigi.io.mirror import is_url, mirrored
from robustbench_aigi.registry import renamed


class Places:
    """Paths stay paths, URLs become mirrors until the command ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._urls: dict[Path, str] = {}

    def to_write(self, place: str) -> Path:
        """A folder to write to, or to read and to write to."""
        return self._taken(place, write=True)

    def to_read(self, place: str) -> Path:
        """A folder to read from. Raises ``DataError`` if nothing is at its URL."""
        folder = self._taken(place, write=False)
        if is_url(place) and not any(folder.iterdir()):
            raise DataError(
                f"there is nothing at {place}. See that it is spelt as where it was written to."
            )
        return folder

    def file_to_write(self, place: str) -> Path:
        """A file to write, beside those that begin with its name without the suffix, to read and to
        write.
        """
        if not is_url(place):
            return Path(place)
        folder, _, name = place.rpartition("/")
        return self._taken(folder, write=True, only=name.rpartition(".")[0] or name) / name

    def detector(self, name: str) -> str:
        """A detector's address as it is, but for a checkpoint at a URL, which is fetched; an HTTP
        URL is a detector.

        A checkpoint may be the place itself or the argument ``weights``; all other arguments stay
        as they were typed.
        """
        new, address = renamed(name)
        if "://" not in name or address.startswith(("http:", "https:")):
            return name
        place, mark, query = address.partition("?")
        place = self._checkpoint(place) if is_url(place) else place
        parts = [pair.partition("=") for pair in query.split("&")]
        query = "&".join(
            f"{key}={quote(self._checkpoint(unquote(value)))}"
            if key == "weights" and is_url(unquote(value))
            else f"{key}{equals}{value}"
            for key, equals, value in parts
        )
        return f"{new}={place}{mark}{query}" if new else f"{place}{mark}{query}"

    def _checkpoint(self, url: str) -> str:
        """The path of the mirror of a file."""
        folder, _, file = url.rpartition("/")
        found = self._taken(folder, write=False, only=file) / file
        if not found.is_file():
            raise DataError(f"no file at {url}. Give the URL of a checkpoint that train wrote.")
        return str(found)

    def display_path(self, words: Path | str) -> str:
        """A path, or a text with paths in it, as the user knows them: of a mirror's, the URL."""
        text = str(words)
        for top, url in self._urls.items():
            text = text.replace(str(top), url)
        return text

    def _taken(self, place: str, *, write: bool, only: str = "") -> Path:
        if not is_url(place):
            return Path(place)
        folder = self._stack.enter_context(mirrored(place, write=write, only=only, say=_tell))
        self._urls[folder] = place.rstrip("/")
        return folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)


def _tell(line: str) -> None:
    sys.stderr.write(f"warning: {line}\n")


COMMAND_PLACES = Places()
