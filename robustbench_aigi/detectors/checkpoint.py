"""Weights on disk: safetensors that name their detector, its configuration and its card."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from robustbench_aigi.detectors.base import Card, Detector, detectors
from robustbench_aigi.errors import BadCheckpoint
from robustbench_aigi.files import write_whole
from robustbench_aigi.hashing import file_digest


def save_detector(detector: Detector, path: Path, *, half: bool = False) -> None:
    """Write weights, configuration and card to ``path`` (.safetensors), atomically.

    Args:
        half: store float16, which halves the file; loading always gives float32.
    """
    tensors = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in detector.state_dict().items()
    }
    metadata = {
        "detector": detectors.name_of(type(detector)),
        "config": json.dumps(detector.config),
        "card": detector.card.model_dump_json(),
    }
    write_whole(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


SHIPPED = Path(__file__).parent.parent / "weights"


def shipped_names(trained_on: str = "cifake") -> list[str]:
    """The detectors whose weights ship with the package, trained on that dataset."""
    return sorted(p.stem.removesuffix(f"-{trained_on}") for p in SHIPPED.glob(f"*-{trained_on}.safetensors"))


def shipped(name: str, trained_on: str = "cifake") -> Path:
    """The path of the weights that ship with the package. Raises ``BadCheckpoint`` naming those there are."""
    path = SHIPPED / f"{name}-{trained_on}.safetensors"
    if not path.is_file():
        detectors.get(name)
        known = ", ".join(shipped_names(trained_on)) or "none"
        raise BadCheckpoint(f"no weights of {name} for {trained_on} are shipped. Shipped: {known}.")
    return path


def load_detector(name: str, weights: str | Path | None = None, **config: Any) -> Detector:
    """Build a detector in evaluation mode.

    Args:
        name: a registered name, ``module:Class``, or the path of a checkpoint written by :func:`save_detector`.
        config: arguments of a fresh detector, such as ``model`` and ``pretrained`` of ``clip-mlp``.
        weights: a checkpoint for the named detector, or ``cifake`` for those that ship; None for fresh weights.

    Raises:
        UnknownName: no such detector.
        BadCheckpoint: the file is missing, damaged, or does not fit the detector.
    """
    if name.endswith(".safetensors"):
        return _from_checkpoint(Path(name), expected=None)
    if weights is not None:
        detectors.get(name)
        return _from_checkpoint(shipped(name) if weights == "cifake" else Path(weights), expected=name)
    return detectors.get(name)(**config).eval()


def _from_checkpoint(path: Path, expected: str | None) -> Detector:
    if not path.is_file():
        raise BadCheckpoint(
            f"no checkpoint at {path}. Train one with `robustbench-aigi train {expected or 'tinyvit-5m'}`."
        )
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except SafetensorError as error:
        raise BadCheckpoint(f"{path} is not a safetensors file: {error}. Give a file that `train` wrote.") from error
    name = metadata.get("detector", expected)
    if name is None:
        raise BadCheckpoint(
            f"{path} does not say which detector it is for. Name it: load_detector(NAME, weights={str(path)!r})."
        )
    if expected is not None and name != expected:
        raise BadCheckpoint(f"{path} holds weights of {name}, but {expected} was asked for. Write {name} instead.")
    detector = detectors.get(name)(**json.loads(metadata.get("config", "{}")))
    try:
        detector.load_state_dict({key: _as(tensor) for key, tensor in tensors.items()})
    except RuntimeError as error:
        raise BadCheckpoint(
            f"{path} does not fit {name}: {str(error)[:300]}. Give a file that `train` wrote."
        ) from error
    card = Card.model_validate_json(metadata["card"]) if "card" in metadata else detector.card
    detector.card = card.model_copy(update={"weights": f"sha256:{file_digest(path)}"})
    return detector.eval()


def _as(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
