"""Restoring a detector from a checkpoint, of this package or of the detector's authors."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from robustbench_aigi.catalogue import WEIGHTS_FOLDER
from robustbench_aigi.detectors._support.checkpoints.building import build
from robustbench_aigi.detectors._support.checkpoints.fitting import (
    describe_misfit,
    fit_tensors,
    fitting_detectors,
    is_of_another_size,
)
from robustbench_aigi.detectors._support.checkpoints.shipped import SHIPPED_IMAGE_SIZES
from robustbench_aigi.detectors._support.checkpoints.tensors import StoredTensors, read_tensors
from robustbench_aigi.detectors._support.fetching import without_pretrained_weights
from robustbench_aigi.detectors.base import FRESH_WEIGHTS, Card, Detector, detectors
from robustbench_aigi.errors import CheckpointError
from robustbench_aigi.io.hashing import file_digest

FACTS_OF_ARGUMENTS = ("input_size", "resize")
"""Facts on a card that follow from a detector's arguments."""


class _Restored(NamedTuple):
    """A detector as it was built, and what a checkpoint holds for it.

    Attributes:
        detector: filled by nothing yet.
        state: the tensors of the checkpoint.
        notes: how they were read.
        card: as stored; None if the file has none.
        replaced: arguments that the file stores and that are others now; empty for none.
    """

    detector: Detector
    state: Mapping[str, Tensor]
    notes: tuple[str, ...]
    card: Card | None
    replaced: str = ""


def restore(path: Path, expected: str | None, config: dict[str, Any]) -> Detector:
    """Build a detector and fill it from a checkpoint; return it in evaluation mode.

    Args:
        path: a .safetensors file or a torch file.
        expected: the detector that it is for; None if the file must say so itself.
        config: arguments of the detector; they replace those stored in the file.

    Raises:
        CheckpointError: the file is missing, damaged, holds code, or does not fit the detector.
    """
    _check_file(path, expected)
    stored = read_tensors(path)
    name = stored.metadata.get("detector", expected)
    if name is None:
        raise CheckpointError(_nameless(path, stored))
    if expected in detectors.names() and name != expected:
        raise CheckpointError(
            f"{path} holds weights of {name}, but {expected} was asked for. Write {name} instead."
        )
    restored = _built_for(path, name, expected, stored, config)
    detector = restored.detector
    is_headless = _is_headless(detector, restored.state)
    try:
        detector.load_state_dict({key: _in_float32(t) for key, t in restored.state.items()})
    except RuntimeError as error:
        own_tensors = detector.state_dict()
        misfit = describe_misfit(restored.state, own_tensors)
        next_step = "Give a file that `train` wrote, or the one named in the detector's card."
        if is_of_another_size(restored.state, own_tensors):
            next_step = (
                "It was trained at another input size: give the variant of that size, such as a"
                " name that ends in it, or its argument for the size, such as size=224."
            )
        raise CheckpointError(f"{path} does not fit {name}: {misfit}. {next_step}") from error
    if restored.notes:
        detector.notes = (*detector.notes, f"{path}: {'; '.join(restored.notes)}.")
    if restored.replaced:
        detector.notes = (*detector.notes, f"{path} was written with {restored.replaced}.")
    weights = FRESH_WEIGHTS if is_headless else f"sha256:{file_digest(path)}"
    card = restored.card or detector.card
    if restored.replaced:
        own_facts = {name: getattr(detector.card, name) for name in FACTS_OF_ARGUMENTS}
        card = card.model_copy(update=own_facts)
    detector.card = _updated_card(card, detector.card, path, weights)
    return detector.eval()


def _check_file(path: Path, expected: str | None) -> None:
    """Raise ``CheckpointError`` unless there is a file that may hold weights."""
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}. Train one with `robustbench-aigi train"
            f" {expected or 'tinyvit-5m'} --out mine.safetensors`."
        )
    if path.suffix == ".onnx":
        raise CheckpointError(f"{path} is a network, not weights of one. Write onnx:{path}.")


def _built_for(
    path: Path, name: str, expected: str | None, stored: StoredTensors, config: dict[str, Any]
) -> _Restored:
    """Build the detector of a checkpoint, with the state dict that fits it."""
    own, card = _stored_facts(path, stored.metadata)
    if "detector" not in stored.metadata:
        detector = build(name, config)
        state, notes = fit_tensors(detector, stored)
        return _Restored(detector, state, notes, card)
    with without_pretrained_weights():
        detector = build(name, own | config)
    if expected and expected.startswith("timm:") and detector.card.source != expected:
        raise CheckpointError(
            f"{path} holds weights of {detector.card.source}, but {expected} was asked for."
            f" Write {path} alone."
        )
    replaced = _replaced(own, {key: detector.config.get(key) for key in config})
    return _Restored(detector, stored.tensors, stored.notes, card, replaced)


def _replaced(stored: Mapping[str, Any], given: Mapping[str, Any]) -> str:
    """Return the stored arguments that were given otherwise, as text; empty for none."""
    changes = []
    for key in stored.keys() & given.keys():
        before = json.dumps(stored[key], default=str)
        now = json.dumps(given[key], default=str)
        if before != now:
            changes.append(f"{key}={before}, now {key}={now}")
    return ", ".join(sorted(changes))


def _updated_card(stored: Card, built: Card, path: Path, weights: str) -> Card:
    """Return a checkpoint's card with facts that only the load knows."""
    facts: dict[str, Any] = {"weights": weights, "cam": stored.cam or built.cam}
    if path.parent == WEIGHTS_FOLDER and stored.trained_size is None:
        facts["trained_size"] = SHIPPED_IMAGE_SIZES.get(path.stem.rpartition("-")[2])
    return stored.model_copy(update=facts)


def _nameless(path: Path, stored: StoredTensors) -> str:
    """Return the message about a checkpoint that names no detector, with those that it fits."""
    fitting = fitting_detectors(stored)
    name = fitting[0] if fitting else "NAME"
    fits = f"It fits {', '.join(fitting)}" if fitting else "It fits none as it is built by default"
    return (
        f"{path} does not say which detector it is for. {fits}: write '{name}?weights={path}', or"
        f" in Python load_detector({name!r}, weights={str(path)!r})."
    )


def _is_headless(detector: Detector, tensors: Mapping[str, Tensor]) -> bool:
    """Return whether the last layer stays as built, because the file has none of its kind."""
    if not detector.last_layer:
        return False
    own = detector.state_dict()
    head = [key for key in own if key.startswith(f"{detector.last_layer}.")]
    return any(key in tensors and tensors[key].data_ptr() == own[key].data_ptr() for key in head)


def _stored_facts(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], Card | None]:
    """Return the arguments and the card in a file's metadata. Raises ``CheckpointError``."""
    try:
        own = dict(json.loads(metadata.get("config", "{}")))
        card = Card.model_validate_json(metadata["card"]) if "card" in metadata else None
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"the metadata of {path} cannot be read: {reason}. Give a file that `train` wrote."
        ) from error
    return own, card


def _in_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
