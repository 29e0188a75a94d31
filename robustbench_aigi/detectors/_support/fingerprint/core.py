"""What all parts of the walk share: the hash, the objects already met, and what has no hash."""

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Unknown:
    """A placeholder for a part that no hash can hold.

    Attributes:
        reason: what it is, such as "the service behind https://...".
    """

    reason: str


class BaseWalk(ABC):
    """A walk over the objects that a detector is made of, in the same order in every process.

    Args:
        scheme: name of the fingerprint's scheme, which is hashed first.

    Attributes:
        sha: the hash so far.
        unknown: what could not be hashed, in words.
    """

    def __init__(self, scheme: str) -> None:
        self.sha = hashlib.sha256(scheme.encode())
        self.unknown: list[str] = []
        self._seen: dict[int, tuple[int, object]] = {}

    @abstractmethod
    def visit(self, value: Any, where: str) -> None:
        """Add an object and all that it is made of.

        Args:
            value: the object.
            where: its dotted name, for messages.
        """

    def visit_all(self, where: str, *values: object) -> None:
        """Add objects, one after the other.

        Args:
            where: dotted name of what they belong to.
            values: the objects.
        """
        for value in values:
            self.visit(value, where)

    def put(self, *tokens: str | bytes | memoryview) -> None:
        """Hash tokens, each after its length, so that different tokens never give equal bytes.

        Args:
            tokens: texts or bytes.
        """
        for token in tokens:
            data = token.encode(errors="surrogatepass") if isinstance(token, str) else token
            self.sha.update(len(data).to_bytes(8, "little"))
            self.sha.update(data)

    def note_unknown(self, what: str, where: str) -> None:
        """Note something that cannot be hashed.

        Args:
            what: in words.
            where: its dotted name; empty for the detector itself.
        """
        self.unknown.append(f"{what} in {where or 'the detector'}")

    def is_first(self, value: object) -> bool:
        """Return whether an object is met for the first time; if not, hash its number instead.

        Args:
            value: the object; it is held, so that no other object gets its ``id``.
        """
        if id(value) in self._seen:
            self.put("again", str(self._seen[id(value)][0]))
            return False
        self._seen[id(value)] = (len(self._seen), value)
        return True
