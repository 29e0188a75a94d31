"""Surrogates: the detectors that the images of a suite's shared rows are made on."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from robustbench_aigi.attacks import Suite
from robustbench_aigi.detectors import Detector, load_detector, load_trained, shipped
from robustbench_aigi.errors import UserError


def load_surrogates(
    suite: Suite, checkpoints: Sequence[str], otherwise: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Detector]:
    """Load the surrogates that a suite's rows name.

    Args:
        otherwise: for names that no checkpoint has, a checkpoint, or a dataset whose weights ship.

    Raises:
        UserError: two checkpoints of one name, or one that no row names.
    """
    makers: dict[str, Detector] = {}
    for checkpoint in checkpoints:
        maker = load_trained(checkpoint)
        name = maker.card.name
        if name not in suite.surrogates:
            raise UserError(
                f"{name} is no surrogate of the suite {suite.name}, whose rows name "
                f"{', '.join(sorted(suite.surrogates)) or 'none'}. "
                "Leave it out, or give it such a name: --surrogate NAME=CHECKPOINT."
            )
        if name in makers:
            raise UserError(f"two surrogates are called {name}. Give one of them.")
        makers[name] = maker
    return makers | {
        name: _of_recipe(name, otherwise[name])
        for name in suite.surrogates & {*otherwise} - {*makers}
    }


def _of_recipe(name: str, weights: str) -> Detector:
    return (
        load_detector(weights)
        if weights.endswith(".safetensors")
        else load_detector(name, shipped(name, weights))
    )
