"""Loading a detector by name, path or address, with the weights that are asked for."""

import inspect
import re
from pathlib import Path
from typing import Any

from robustbench_aigi.detectors._support.addresses.address import (
    URL_SCHEMES,
    Address,
    file_exists,
    is_weights_path,
    parse,
)
from robustbench_aigi.detectors._support.addresses.arguments import decode
from robustbench_aigi.detectors._support.checkpoints.building import build
from robustbench_aigi.detectors._support.checkpoints.restoring import restore
from robustbench_aigi.detectors._support.checkpoints.shipped import is_shipped_dataset, shipped
from robustbench_aigi.detectors.base import FRESH_WEIGHTS, PACKAGE_NAME, Detector, detectors
from robustbench_aigi.detectors.external import check_query, class_at
from robustbench_aigi.errors import ConfigError


def load_detector(name: str, weights: str | Path | None = None, **config: Any) -> Detector:
    """Build a detector in evaluation mode.

    Args:
        name: a registered name, ``module:Class``, the path of a checkpoint written by
            :func:`save_detector`, or an address: ``hf:REPO``, ``timm:NAME``, ``onnx:PATH``,
            ``https://HOST/PATH`` (see :func:`load_external`). With a dataset as ``weights`` also a
            name that ships and is not registered, such as ``robust-tinyvit-5m``. ``NEW=`` before
            any of these calls it NEW in reports, as in ``before=runs/mine.safetensors``, and
            arguments may follow, as in ``tinyvit-5m?size=224&weights=a.pth``.
        weights: for the named detector: a checkpoint of this package or of its authors
            (.safetensors, or a torch file, read without running any code in it), or the name of a
            dataset for which its weights ship, such as ``cifake``; None or ``fresh`` for fresh
            weights.
        config: arguments of the detector, such as ``model`` and ``pretrained`` of ``clip-mlp``;
            they replace those stored in a checkpoint of this package. Every detector takes
            ``threshold``, a logit.

    Raises:
        UnknownNameError: no such detector.
        ConfigError: it does not take these arguments.
        CheckpointError: the file is missing, damaged, holds code, or does not fit the detector.
    """
    address = parse(name)
    has_separate_query = address.has_separate_query or bool(config)
    arguments = {**address.arguments, **config}
    return load_at(Address(address.place, arguments, address.alias, has_separate_query), weights)


def load_at(address: Address, weights: str | Path | None = None) -> Detector:
    """Build the detector at an address.

    Args:
        address: where it is, and its arguments.
        weights: see :func:`load_detector`; they replace those in the address.

    Raises:
        UnknownNameError: no such detector.
        ConfigError: it does not take these arguments.
        CheckpointError: the file is missing, damaged, holds code, or does not fit the detector.
    """
    if address.place.startswith(URL_SCHEMES) and not address.has_separate_query:
        check_query(address.place)
    config = dict(address.arguments)
    common = _take_common(config, _own_parameters(address.place))
    if weights is None:
        weights = common.get("weights")
    name = address.alias or common.get("name")
    if name and not re.fullmatch(r"[\w.+-]+", name):
        raise ConfigError(
            f"a name is made of letters, digits and . _ + -, got {name!r}. Write name=mine, for"
            " example."
        )
    facts = {"name": name, "threshold": common.get("threshold")}
    facts = {key: value for key, value in facts.items() if value not in (None, "")}
    detector = _loaded(address.place, None if weights == FRESH_WEIGHTS else weights, config)
    if facts:
        detector.describe(**facts)
    return detector


def _take_common(config: dict[str, Any], own: frozenset[str]) -> dict[str, Any]:
    """Remove from ``config`` the arguments of every detector that this one does not take itself."""
    kinds = {"weights": str, "name": str, "threshold": float}
    taken = {
        key: decode(config.pop(key), kind, key)
        for key, kind in kinds.items()
        if key in config and key not in own
    }
    if taken.get("threshold") is not None:
        taken["threshold"] = float(taken["threshold"])
    return {key: value for key, value in taken.items() if value is not None}


def _own_parameters(place: str) -> frozenset[str]:
    """Return which of the arguments of every detector have a meaning of their own at a place.

    All arguments of a class that is no part of this package are its own, whatever their names.
    """
    external = class_at(place)
    if external is not None:
        return frozenset({"threshold"} & inspect.signature(external).parameters.keys())
    is_named = ":" in place or place in detectors.names()
    if is_weights_path(place) or file_exists(place) or not is_named:
        return frozenset()
    found = detectors.get(place)
    if str(getattr(found, "__module__", "")).startswith(f"{PACKAGE_NAME}."):
        return frozenset()
    taken = frozenset(inspect.signature(found).parameters) if callable(found) else frozenset()
    return taken | {"threshold", "name"} if ":" in place else taken


def _loaded(name: str, weights: str | Path | None, config: dict[str, Any]) -> Detector:
    if file_exists(name) or is_weights_path(name):
        if weights is not None:
            raise ConfigError(
                f"{name} brings its own weights, got weights={weights}. Leave out one of the two."
            )
        return restore(Path(name), None, config)
    if weights is None:
        return build(name, config).eval()
    if isinstance(weights, str) and is_shipped_dataset(weights):
        return restore(shipped(name, weights), name, config)
    if ":" not in name:
        detectors.get(name)
    return restore(Path(weights), name, config)
