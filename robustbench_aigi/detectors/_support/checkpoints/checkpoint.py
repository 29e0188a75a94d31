"""Weights on disk: safetensors that name their detector, its configuration and its card."""

import inspect
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from robustbench_aigi.catalogue import WEIGHTS
from robustbench_aigi.detectors._support.addresses.address import (
    FILES,
    SCHEMES,
    URLS,
    Address,
    constructed,
    is_there,
    parse,
)
from robustbench_aigi.detectors._support.addresses.arguments import typed
from robustbench_aigi.detectors._support.checkpoints.fitting import (
    fitted,
    fitting_detectors,
    misfit,
)
from robustbench_aigi.detectors._support.checkpoints.tensors import Stored, read_tensors
from robustbench_aigi.detectors._support.fetching import weights_follow
from robustbench_aigi.detectors.base import FRESH_WEIGHTS, PACKAGE_NAME, Card, Detector, detectors
from robustbench_aigi.detectors.external import addressed, check_query, class_at
from robustbench_aigi.detectors.external.python_object import adapted
from robustbench_aigi.errors import CheckpointError, ConfigError, UserError
from robustbench_aigi.io.files import atomic_write
from robustbench_aigi.io.hashing import file_digest


def save_detector(detector: Detector, path: str | Path, *, half: bool = False) -> None:
    """Write weights, configuration and card to ``path`` (.safetensors), atomically.

    Args:
        half: store float16, which halves the file; loading always gives float32.

    Raises:
        UserError: the detector is a view of another, or holds a network of which only its owner has
            the code.
    """
    check_restorable(detector)
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in detector.state_dict().items()
    }
    metadata = {
        "detector": detectors.name_of(type(detector)),
        "config": json.dumps(detector.config),
        "card": detector.card.model_dump_json(),
    }
    atomic_write(Path(path), lambda temporary: _save(tensors, metadata, temporary))


def check_restorable(detector: Detector) -> None:
    """Raise ``UserError`` unless a file can say how to build the detector again."""
    if not detector.restorable:
        raise UserError(
            f"{detector.card.name} cannot be saved: a file could not say how to build it. Save what"
            " is inside, or derive its class from robustbench_aigi.Detector and name it"
            " module:Class."
        )


def _save(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """As safetensors does, whose metadata is in another order at every call: here they are
    sorted.
    """
    save_file(tensors, path, metadata=metadata)
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(metadata.items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise RuntimeError(
                f"the header of {path} grew from {length} to {len(text)} bytes by putting it in"
                " order"
            )
        file.seek(8)
        file.write(text.ljust(length))


WEIGHTS_SIZES = {"cifake": (32, 32)}
"""Smallest and largest side of the images of a dataset that shipped weights learnt from; their
files do not say it.
"""


def shipped_names(trained_on: str = "cifake") -> list[str]:
    """The detectors whose weights ship with the package, trained on that dataset."""
    return sorted(
        p.stem.removesuffix(f"-{trained_on}") for p in WEIGHTS.glob(f"*-{trained_on}.safetensors")
    )


def shipped(name: str, trained_on: str = "cifake") -> Path:
    """The path of the weights that ship with the package. Raises ``CheckpointError`` naming those
    there are.
    """
    path = WEIGHTS / f"{name}-{trained_on}.safetensors"
    if not path.is_file():
        known = ", ".join(shipped_names(trained_on)) or "none"
        raise CheckpointError(
            f"no weights of {name} for {trained_on} are shipped. Shipped: {known}."
        )
    return path


def load_detector(name: str, weights: str | Path | None = None, **config: Any) -> Detector:
    """Build a detector in evaluation mode.

    Args:
        name: a registered name, ``module:Class``, the path of a checkpoint written by
            :func:`save_detector`, or an address: ``hf:REPO``, ``timm:NAME``, ``onnx:PATH``,
            ``https://HOST/PATH`` (see :func:`addressed`). With ``weights="cifake"`` also a name
            that ships and is not registered, such as ``robust-tinyvit-5m``. ``NEW=`` before any of
            these calls it NEW in reports, as in ``before=runs/mine.safetensors``, and arguments may
            follow, as in ``tinyvit-5m?size=224&weights=a.pth``.
        weights: for the named detector: a checkpoint of ours or of its authors (.safetensors, or a
            torch file, read without running any code in it), or ``cifake`` for those that ship;
            None or ``fresh`` for fresh weights.
        config: arguments of the detector, such as ``model`` and ``pretrained`` of ``clip-mlp``;
            they replace those that a checkpoint of ours brings. Every detector takes ``threshold``,
            a logit.

    Raises:
        UnknownNameError: no such detector. ConfigError: it does not take these arguments.
        CheckpointError: the file is missing, damaged, holds code, or does not fit the detector.
    """
    address = parse(name)
    apart = address.apart or bool(config)
    return load_at(
        Address(address.place, {**address.arguments, **config}, address.new, apart), weights
    )


def load_at(address: Address, weights: str | Path | None = None) -> Detector:
    """Build the detector at an address; see :func:`load_detector`."""
    if address.place.startswith(URLS) and not address.apart:
        check_query(address.place)
    config, own = dict(address.arguments), _parameters(address.place)
    common = {
        key: typed(config.pop(key), str, key)
        for key in ("weights", "name")
        if key in config and key not in own
    }
    threshold = (
        typed(config.pop("threshold"), float, "threshold")
        if {"threshold"} & config.keys() - own
        else None
    )
    name, weights = (
        address.new or common.get("name", ""),
        weights if weights is not None else common.get("weights"),
    )
    if name and not re.fullmatch(r"[\w.+-]+", name):
        raise ConfigError(
            f"a name is made of letters, digits and . _ + -, got {name!r}. Write name=mine, for"
            " example."
        )
    detector = _loaded(address.place, None if weights == FRESH_WEIGHTS else weights, config)
    facts = ({"name": name} if name else {}) | (
        {} if threshold is None else {"threshold": float(threshold)}
    )
    if facts:
        detector.describe(**facts)
    return detector


def _parameters(place: str) -> frozenset[str]:
    """Arguments, of those that every detector takes, that what is at an address takes itself, as it
    means them.

    Of a class that is no part of this package they are its own, whatever they are called.
    """
    if (scheme := class_at(place)) is not None:
        return frozenset({"threshold"} & inspect.signature(scheme).parameters.keys())
    named = ":" in place or place in detectors.names()
    if place.endswith(FILES) or is_there(place, "is_file") or not named:
        return frozenset()
    found = detectors.get(place)
    if str(getattr(found, "__module__", "")).startswith(f"{PACKAGE_NAME}."):
        return frozenset()
    taken = frozenset(inspect.signature(found).parameters) if callable(found) else frozenset()
    return taken | {"threshold", "name"} if ":" in place else taken


def _loaded(name: str, weights: str | Path | None, config: dict[str, Any]) -> Detector:
    if is_there(name, "is_file") or (
        name.endswith(FILES) and not name.startswith((*SCHEMES, *URLS))
    ):
        if weights is not None:
            raise ConfigError(
                f"{name} brings its own weights, got weights={weights}. Leave out one of the two."
            )
        return _from_checkpoint(Path(name), None, config)
    if weights == "cifake":
        return _from_checkpoint(shipped(name), name, config)
    if weights is not None:
        if ":" not in name:
            detectors.get(name)
        return _from_checkpoint(Path(weights), name, config)
    return _built(name, config).eval()


def _built(name: str, config: dict[str, Any]) -> Detector:
    if (anyones := addressed(name, **config)) is not None:
        return anyones
    found = detectors.get(name)
    return adapted(name, found, config) if ":" in name else constructed(found, name, config)


def _from_checkpoint(path: Path, expected: str | None, config: dict[str, Any]) -> Detector:
    if not path.is_file():
        raise CheckpointError(
            f"no checkpoint at {path}. Train one with `robustbench-aigi train"
            f" {expected or 'tinyvit-5m'} --out mine.safetensors`."
        )
    if path.suffix == ".onnx":
        raise CheckpointError(f"{path} is a network, not weights of one. Write onnx:{path}.")
    stored = read_tensors(path)
    name = stored.metadata.get("detector", expected)
    if name is None:
        raise CheckpointError(_nameless(path, stored))
    if expected in detectors.names() and name != expected:
        raise CheckpointError(
            f"{path} holds weights of {name}, but {expected} was asked for. Write {name} instead."
        )
    own, card = _own(path, stored.metadata)
    if "detector" in stored.metadata:
        with weights_follow():
            detector = _built(name, own | config)
        if expected and expected.startswith("timm:") and detector.card.source != expected:
            raise CheckpointError(
                f"{path} holds weights of {detector.card.source}, but {expected} was asked for."
                f" Write {path} alone."
            )
        state, notes = stored.tensors, stored.notes
    else:
        detector = _built(name, config)
        state, notes = fitted(detector, stored)
    headless = _is_headless(detector, state)
    try:
        detector.load_state_dict({key: _as(tensor) for key, tensor in state.items()})
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit {name}: {misfit(state, detector.state_dict())}. Give a file that"
            " `train` wrote, or the one named in the detector's card."
        ) from error
    if notes:
        detector.notes = (*detector.notes, f"{path}: {'; '.join(notes)}.")
    card = card or detector.card
    new: dict[str, Any] = {"weights": FRESH_WEIGHTS if headless else f"sha256:{file_digest(path)}"}
    new["cam"] = card.cam or detector.card.cam
    if path.parent == WEIGHTS and card.trained_size is None:
        new["trained_size"] = WEIGHTS_SIZES.get(path.stem.rpartition("-")[2])
    detector.card = card.model_copy(update=new)
    return detector.eval()


def _nameless(path: Path, stored: Stored) -> str:
    """What to say of a checkpoint that names no detector: those that it fits, and how to
    write it.
    """
    fitting = fitting_detectors(stored)
    name = fitting[0] if fitting else "NAME"
    fits = f"It fits {', '.join(fitting)}" if fitting else "It fits none as it is built by default"
    return (
        f"{path} does not say which detector it is for. {fits}: write '{name}?weights={path}', or"
        f" in Python load_detector({name!r}, weights={str(path)!r})."
    )


def _is_headless(detector: Detector, tensors: Mapping[str, Tensor]) -> bool:
    """Whether the last layer is the one that the detector was built with, because the file brings
    none of its kind.
    """
    own, start = detector.state_dict(), f"{detector.last_layer}."
    given = [key for key in own if detector.last_layer and key.startswith(start)]
    return any(key in tensors and tensors[key].data_ptr() == own[key].data_ptr() for key in given)


def _own(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], Card | None]:
    """Arguments and card that a file says of itself. Raises ``CheckpointError``."""
    try:
        own = dict(json.loads(metadata.get("config", "{}")))
        return own, Card.model_validate_json(metadata["card"]) if "card" in metadata else None
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"what {path} says of itself cannot be read: {reason}. Give a file that `train` wrote."
        ) from error


def _as(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
