"""Surrogates: the detectors that the images of a suite's shared rows are made on."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from robustbench_aigi.attacks import Suite
from robustbench_aigi.detectors import Detector, load_detector, load_trained, shipped
from robustbench_aigi.errors import UserError


def load_surrogates(
    suite: Suite, checkpoints: Sequence[str], defaults: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Detector]:
    """Load the surrogates that a suite's rows name.

    Args:
        suite: what is to be made.
        checkpoints: addresses of trained detectors.
        defaults: for a name that no checkpoint has, a checkpoint, or a dataset whose shipped
            weights it takes.

    Raises:
        UserError: two checkpoints have one name, or no row names a checkpoint.
    """
    surrogates: dict[str, Detector] = {}
    for checkpoint in checkpoints:
        detector = load_trained(checkpoint)
        name = detector.card.name
        if name not in suite.surrogates:
            raise UserError(
                f"suite {suite.name} does not use the surrogate {name}; it uses"
                f" {', '.join(sorted(suite.surrogates)) or 'none'}."
                " Leave it out, or give it such a name: --surrogate NAME=CHECKPOINT."
            )
        if name in surrogates:
            raise UserError(f"two surrogates are called {name}. Give one of them.")
        surrogates[name] = detector
    for name in suite.surrogates & {*defaults} - {*surrogates}:
        surrogates[name] = _load_default(name, defaults[name])
    return surrogates


def _load_default(name: str, weights: str) -> Detector:
    if weights.endswith(".safetensors"):
        return load_detector(weights)
    return load_detector(name, shipped(name, weights))
