"""Outcomes: why something has no result, as types instead of texts."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from robustbench_aigi.io.files import write_text


class CellStatus(StrEnum):
    """First word of the column ``status``; the reason follows it after a colon."""

    OK = "ok"
    INCOMPLETE = "incomplete"
    MISSING = "missing"
    UNAVAILABLE = "unavailable"
    ERROR = "error"

    @classmethod
    def of(cls, text: str) -> "CellStatus":
        """Return the status that a text of the column ``status`` begins with.

        Example:
            >>> CellStatus.of("error: pgd: out of memory")
            <CellStatus.ERROR: 'error'>
        """
        return cls(text.partition(":")[0])


@dataclass(frozen=True)
class Unavailable:
    """Something is out of reach, or cannot be applied.

    Attributes:
        reason: why, and what to do.
    """

    reason: str

    def __str__(self) -> str:
        return f"{CellStatus.UNAVAILABLE}: {self.reason}"


@dataclass(frozen=True)
class Missing:
    """Something has not been computed yet.

    Attributes:
        reason: how far it is.
    """

    reason: str

    def __str__(self) -> str:
        return f"{CellStatus.MISSING}: {self.reason}"


@dataclass(frozen=True)
class Failed:
    """Something raised.

    Attributes:
        reason: the error in one line.
        traceback: all of it; empty where it is in a log.
        is_out_of_memory: whether fewer images at once may succeed.
    """

    reason: str
    traceback: str = ""
    is_out_of_memory: bool = False

    def __str__(self) -> str:
        return f"{CellStatus.ERROR}: {self.reason}"

    def write_log(self, path: Path) -> None:
        """Write the reason and the traceback to a file."""
        write_text(path, f"{self}\n\n{self.traceback}")

    @classmethod
    def read_log(cls, path: Path) -> "Failed":
        """Read what :meth:`write_log` wrote, without the traceback."""
        first = path.read_text(errors="replace").partition("\n")[0]
        return cls(first.removeprefix(f"{CellStatus.ERROR}: "))


Absent = Unavailable | Missing | Failed
"""Why there is no result."""
