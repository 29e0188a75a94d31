"""Load the detectors of an evaluation by their addresses."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from robustbench_aigi.detectors import Detector, load_trained
from robustbench_aigi.detectors._support.addresses.address import Address
from robustbench_aigi.detectors.base import FRESH_WEIGHTS
from robustbench_aigi.detectors.loading import addresses_of
from robustbench_aigi.errors import UnavailableError, UserError
from robustbench_aigi.outcomes import Unavailable


def load_detectors(detectors: Sequence[Detector | str | Path]) -> dict[str, Detector | Unavailable]:
    """Load trained detectors by name; an unavailable one is replaced by the reason.

    Args:
        detectors: detectors, or addresses as a command takes them, see :func:`load_trained`;
            ``FILE.toml`` stands for all that it lists.

    Raises:
        UserError: two detectors have the same name, or an address cannot be read.
    """
    loaded: dict[str, Detector | Unavailable] = {}
    for given in detectors:
        for one in [given] if isinstance(given, Detector) else addresses_of(str(given)):
            name, ready = _load(one)
            if name in loaded:
                raise UserError(
                    f"two detectors are called {name}. Give one as NEW=CHECKPOINT or wrap(...,"
                    " name=NEW)."
                )
            loaded[name] = ready
    return loaded


def _load(given: Detector | Address) -> tuple[str, Detector | Unavailable]:
    """Return a detector with its name, or its address with the reason it is unavailable."""
    if isinstance(given, Detector):
        return given.card.name, given
    try:
        ready = load_trained(given)
    except UnavailableError as error:
        return given.alias or str(given), Unavailable(str(error))
    return ready.card.name, ready


def available(detectors: Mapping[str, Detector | Unavailable]) -> dict[str, Detector]:
    """Return those of the ``detectors`` that could be loaded."""
    return {name: ready for name, ready in detectors.items() if isinstance(ready, Detector)}


def fresh_warnings(detectors: Mapping[str, Detector | Unavailable]) -> list[str]:
    """Return a warning for each of the ``detectors`` that has fresh weights."""
    return [
        f"{name} has fresh weights: nothing in it was trained, and its numbers are those of chance"
        for name, ready in available(detectors).items()
        if ready.card.weights == FRESH_WEIGHTS
    ]
