"""Detectors as commands name them: a name stands for its trained weights, and fresh ones are for
training alone.
"""

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
from robustbench_aigi.detectors.base import FRESH, Detector, detectors
from robustbench_aigi.errors import CheckpointError, UnknownNameError, UserError
from robustbench_aigi.registry import unknown


def taken_names() -> set[str]:
    """Names of registered detectors, and of those that ship."""
    return {*detectors.names(), *shipped_names()}


def addresses_of(text: str) -> list[Address]:
    """The addresses that a text stands for: one, or those of a list of detectors
    (``FILE.toml``).
    """
    return expand_address(text, taken_names())


def address_of(text: str) -> Address:
    """The one address that a text stands for. Raises ``UserError`` if there are several."""
    return single_address(text, taken_names())


def load_trained(address: str | Address) -> Detector:
    """Load a detector that judges images, in evaluation mode.

    A bare name means the weights that ship. What ships none, and ``timm:NAME``, whose last layer is
    fresh, are refused unless ``weights=`` names a checkpoint, or says ``fresh``.

    Raises:
        CheckpointError: nothing was trained. Else as :func:`load_detector`.
    """
    address = address_of(address) if isinstance(address, str) else address
    asked = address.arguments.get("weights")
    if asked is None and address.is_bare:
        if address.place not in taken_names():
            raise UnknownNameError(unknown("detector", address.place, sorted(taken_names())))
        if address.place not in shipped_names():
            raise CheckpointError(untrained(address))
        return load_at(address, DEFAULT_DATASET)
    detector = load_at(address)
    if detector.card.weights == FRESH and asked != FRESH:
        raise CheckpointError(untrained(address))
    return detector


def untrained(address: Address) -> str:
    """What to do about a detector of which nothing was trained, as commands."""
    asked = address.arguments.get("weights")
    own = {
        key: value
        for key, value in address.arguments.items()
        if key not in ("weights", "name", "threshold")
    }
    plain = Address(address.place, own)
    file = f"{address.place.rpartition(':')[2].rpartition('/')[2]}.safetensors"
    start = f" --start {shlex.quote(unquote(str(asked)))}" if asked else ""
    why = (
        f"{unquote(str(asked))} has no last layer of one or two classes"
        if asked
        else "no trained weights come with it"
    )
    fresh, given = (
        Address(address.place, {**own, "weights": FRESH}),
        Address(address.place, {**own, "weights": "FILE"}),
    )
    return (
        f"{address.place} is not trained: {why}. Train it with `robustbench-aigi train"
        f" {shlex.quote(str(plain))}{start} --out {file}`, and give {file}; or give a checkpoint of"
        f" it, {shlex.quote(str(given))}; fresh weights, if they are wanted, are"
        f" {shlex.quote(str(fresh))}."
    )


def begun_from(
    detector: str, start: str | None, config: Mapping[str, Any]
) -> tuple[str, str | None, Mapping[str, Any]]:
    """What a training builds and begins with: the detector's place, the weights or None, and its
    arguments.

    Args:
        detector: an address, whose weights stand for ``start``. start: a checkpoint, a
            dataset for which weights ship, ``fresh``, or a name that ships.

    Raises:
        UserError: an argument that is none of a training's. CheckpointError: ``start`` is a name
            that ships no weights.
    """
    address = address_of(detector)
    own = dict(address.arguments)
    refused = [key for key in ("threshold", "name") if key in own]
    if refused:
        raise UserError(
            f"{', '.join(refused)} is said when a detector is loaded, not when it is trained. Leave"
            f" it out, and write 'FILE.safetensors?{refused[0]}={own[refused[0]]}' later."
        )
    start = start or (unquote(own.pop("weights")) if "weights" in own else None)
    return address.place, None if start == FRESH else _weights(start), {**own, **config}


def _weights(start: str | None) -> str | None:
    """A checkpoint by path; of a name that ships, its path."""
    if start is None or is_shipped_dataset(start):
        return start
    address = address_of(start)
    if not address.is_bare:
        return address.place
    if address.place in shipped_names():
        return str(shipped(address.place))
    if address.place in detectors.names():
        raise CheckpointError(untrained(address))
    raise UnknownNameError(unknown("detector", address.place, sorted(taken_names())))
