"""What every part of the walk shares: the hash, what was met already, and what could not be
hashed.
"""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Unknown:
    """In the place of a part that no hash can hold: why, in words such as "the service behind
    https://...".
    """

    reason: str


class Core(ABC):
    """A walk under way.

    Attributes:
        unknown: what could not be hashed, in words.
    """

    def __init__(self, scheme: str) -> None:
        self.sha = hashlib.sha256(scheme.encode())
        self.unknown: list[str] = []
        self._seen: dict[int, tuple[int, object]] = {}

    @abstractmethod
    def visit(self, value: Any, where: str) -> None:
        """Add an object and all that it is made of; ``where`` is its dotted name, for messages."""

    def all(self, where: str, *values: object) -> None:
        """Add objects, one after the other."""
        for value in values:
            self.visit(value, where)

    def put(self, *tokens: str | bytes | memoryview) -> None:
        """Add tokens, each with its length, so that no two rows of tokens are the same bytes."""
        for token in tokens:
            data = token.encode(errors="surrogatepass") if isinstance(token, str) else token
            self.sha.update(len(data).to_bytes(8, "little"))
            self.sha.update(data)

    def lost(self, what: str, where: str) -> None:
        """Note what cannot be hashed."""
        self.unknown.append(f"{what} in {where or 'the detector'}")

    def is_first(self, value: object) -> bool:
        """Whether an object is met for the first time; if not, its number is added in its place."""
        if id(value) in self._seen:
            self.put("again", str(self._seen[id(value)][0]))
            return False
        self._seen[id(value)] = (
            len(self._seen),
            value,
        )  # held, so that no other object gets its id
        return True
