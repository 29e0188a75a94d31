"""The fingerprint of a detector: one hash of everything that can change a logit.

A detector is walked as a graph of objects: weights, all buffers, arguments, plain attributes,
hooks, the code of its class, and the code and constants that this uses in the user's own modules.
Code of installed packages is named by its version. Two loads of the same files have the same
fingerprint, in every process. What no hash can hold is named in words.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from robustbench_aigi.detectors._support.fingerprint.core import Unknown
from robustbench_aigi.detectors._support.fingerprint.walk import Walk
from robustbench_aigi.detectors.base import Detector
from robustbench_aigi.io.hashing import digest

__all__ = ["Fingerprint", "Identities", "Unknown", "fingerprint", "reuse_note"]

SCHEME_NAME = "fingerprint 1"
"""Raised whenever the walk covers more or less than before, so that no older fingerprint is equal
to a newer one.
"""
MAX_REASONS = 3
"""Reasons that a note names."""


@dataclass(frozen=True)
class Fingerprint:
    """What a detector's logits depend on.

    Attributes:
        digest: SHA-256, in hexadecimal.
        unknown: in words, what could not be fingerprinted; results are reused only where this is
            empty.
    """

    digest: str
    unknown: tuple[str, ...] = ()


def fingerprint(detector: Detector) -> Fingerprint:
    """Return the fingerprint of a detector.

    What no logit depends on is left out: training mode, device, gradients, batch size, and the
    words on the card (name, licences, ...). A class that knows better what counts writes
    :meth:`Detector.fingerprint_parts`.

    Args:
        detector: loaded, with its weights.
    """
    walk = Walk(SCHEME_NAME)
    walk.visit(detector, "")
    walk.finish()
    return Fingerprint(walk.sha.hexdigest(), tuple(dict.fromkeys(walk.unknown)))


class Identities:
    """The identities of one run's detectors, each computed once.

    A detector's identity is the digest of its fingerprint. Where something is unknown, a number
    drawn for this object is mixed in, so that nothing which an earlier run stored has the same
    identity.
    """

    def __init__(self) -> None:
        self._drawn = secrets.token_hex(16)
        self._known: dict[int, _Known] = {}

    def fingerprint(self, detector: Detector) -> Fingerprint:
        """Return the detector's fingerprint, as it was when first asked for.

        Args:
            detector: one of the run.
        """
        if id(detector) not in self._known:
            self._known[id(detector)] = _Known(detector, fingerprint(detector))
        return self._known[id(detector)].fingerprint

    def of(self, detector: Detector) -> str:
        """Return the detector's identity, in hexadecimal.

        Args:
            detector: one of the run.
        """
        found = self.fingerprint(detector)
        return digest(found.digest, self._drawn) if found.unknown else found.digest

    def of_all(self, detectors: Mapping[str, Detector]) -> dict[str, str]:
        """Return the identities of detectors, by name.

        Args:
            detectors: by name.
        """
        return {name: self.of(detector) for name, detector in detectors.items()}

    def notes(self, detectors: Mapping[str, object]) -> list[str]:
        """Return a note for each detector whose results are never reused.

        Args:
            detectors: by name; values that are not detectors are ignored.
        """
        found = {
            name: self.fingerprint(d) for name, d in detectors.items() if isinstance(d, Detector)
        }
        return [reuse_note(name, one) for name, one in found.items() if one.unknown]


class _Known(NamedTuple):
    """A fingerprint and its detector, which is held so that no other object gets its ``id``."""

    detector: Detector
    fingerprint: Fingerprint


def reuse_note(name: str, found: Fingerprint) -> str:
    """Return why results of a detector are computed in every run; empty if they are reused.

    Args:
        name: of the detector.
        found: its fingerprint.
    """
    if not found.unknown:
        return ""
    reasons = "; ".join(found.unknown[:MAX_REASONS])
    if len(found.unknown) > MAX_REASONS:
        reasons += f" and {len(found.unknown) - MAX_REASONS} more"
    return (
        f"results of {name} are not reused from an earlier run, and a stopped run starts again:"
        f" {reasons} cannot be fingerprinted"
    )
