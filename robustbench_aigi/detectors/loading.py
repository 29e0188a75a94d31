"""Detectors as commands name them: a bare name stands for its trained weights."""

import shlex
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from robustbench_aigi.detectors._support.addresses.address import Address
from robustbench_aigi.detectors._support.addresses.listed import expand_address, single_address
from robustbench_aigi.detectors._support.checkpoints.loading import load_at
from robustbench_aigi.detectors._support.checkpoints.shipped import (
    DEFAULT_DATASET,
    is_shipped_dataset,
    shipped,
    shipped_names,
)
from robustbench_aigi.detectors.base import FRESH_WEIGHTS, Detector, detectors
from robustbench_aigi.errors import CheckpointError, UnknownNameError, UserError
from robustbench_aigi.registry import unknown

COMMON_ARGUMENTS = ("weights", "name", "threshold")
"""Arguments of an address that every detector takes."""


def taken_names() -> set[str]:
    """Return the names of all registered detectors, and of those that ship."""
    return {*detectors.names(), *shipped_names()}


def addresses_of(text: str) -> list[Address]:
    """Parse one address, or the addresses in a list of detectors (``FILE.toml``).

    Args:
        text: an address or the path of a list.
    """
    return expand_address(text, taken_names())


def address_of(text: str) -> Address:
    """Parse one address.

    Args:
        text: an address, or the path of a list of one detector.

    Raises:
        UserError: the list has several detectors.
    """
    return single_address(text, taken_names())


def load_trained(address: str | Address) -> Detector:
    """Load a trained detector, in evaluation mode.

    Args:
        address: a bare name means the weights that ship. Without shipped weights, and for
            ``timm:NAME``, whose last layer is fresh, ``weights=`` must name a checkpoint, or
            ``fresh``.

    Raises:
        CheckpointError: nothing was trained.
        UnknownNameError: no such detector.
        UserError: as :func:`~robustbench_aigi.detectors.load_detector`.
    """
    address = address_of(address) if isinstance(address, str) else address
    weights = address.arguments.get("weights")
    if weights is None and address.is_bare:
        if address.place not in taken_names():
            raise UnknownNameError(unknown("detector", address.place, sorted(taken_names())))
        if address.place not in shipped_names():
            raise CheckpointError(untrained_message(address))
        return load_at(address, DEFAULT_DATASET)
    detector = load_at(address)
    if detector.card.weights == FRESH_WEIGHTS and weights != FRESH_WEIGHTS:
        raise CheckpointError(untrained_message(address))
    return detector


def untrained_message(address: Address) -> str:
    """Return what to do about a detector of which nothing was trained, as commands.

    Args:
        address: the detector's address.
    """
    weights = address.arguments.get("weights")
    own = {key: value for key, value in address.arguments.items() if key not in COMMON_ARGUMENTS}
    plain = Address(address.place, own)
    fresh = Address(address.place, {**own, "weights": FRESH_WEIGHTS})
    given = Address(address.place, {**own, "weights": "FILE"})
    file = f"{address.place.rpartition(':')[2].rpartition('/')[2]}.safetensors"
    start = ""
    reason = "no trained weights come with it"
    if weights:
        checkpoint = unquote(str(weights))
        start = f" --start {shlex.quote(checkpoint)}"
        reason = f"{checkpoint} has no last layer of one or two classes"
    return (
        f"{address.place} is not trained: {reason}. Train it with `robustbench-aigi train"
        f" {shlex.quote(str(plain))}{start} --out {file}`, and give {file}; or give a checkpoint of"
        f" it, {shlex.quote(str(given))}; fresh weights, if they are wanted, are"
        f" {shlex.quote(str(fresh))}."
    )


def begun_from(
    detector: str, start: str | None, config: Mapping[str, Any]
) -> tuple[str, str | None, Mapping[str, Any]]:
    """Return what a training builds and starts from.

    Args:
        detector: an address; its ``weights`` are used where ``start`` is None.
        start: a checkpoint, a dataset for which weights ship, ``fresh``, or a name that ships.
        config: arguments of the detector; they replace those of the address.

    Returns:
        The detector's place, its weights (None if fresh), and its arguments.

    Raises:
        CheckpointError: ``start`` is a name that ships no weights.
        UserError: an argument that a training does not take.
    """
    address = address_of(detector)
    own = dict(address.arguments)
    rejected = [key for key in ("threshold", "name") if key in own]
    if rejected:
        raise UserError(
            f"{', '.join(rejected)} goes with loading a detector, not with training it. Leave it"
            f" out, and write 'FILE.safetensors?{rejected[0]}={own[rejected[0]]}' later."
        )
    if not start:
        start = unquote(own.pop("weights")) if "weights" in own else None
    return address.place, None if start == FRESH_WEIGHTS else _weights(start), {**own, **config}


def _weights(start: str | None) -> str | None:
    """Return the path of a checkpoint; of a name that ships, its path."""
    if start is None or is_shipped_dataset(start):
        return start
    address = address_of(start)
    if not address.is_bare:
        return address.place
    if address.place in shipped_names():
        return str(shipped(address.place))
    if address.place in detectors.names():
        raise CheckpointError(untrained_message(address))
    raise UnknownNameError(unknown("detector", address.place, sorted(taken_names())))
