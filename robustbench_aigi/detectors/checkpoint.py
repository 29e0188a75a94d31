"""Weights on disk: safetensors that name their detector, its configuration and its card."""

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from robustbench_aigi.detectors.anyone import addressed
from robustbench_aigi.detectors.anyone.plain import adapted
from robustbench_aigi.detectors.base import Card, Detector, detectors
from robustbench_aigi.detectors.fetching import weights_follow
from robustbench_aigi.errors import BadCheckpoint, BadConfig, UserError
from robustbench_aigi.files import write_whole
from robustbench_aigi.hashing import file_digest
from robustbench_aigi.registry import renamed


def save_detector(detector: Detector, path: str | Path, *, half: bool = False) -> None:
    """Write weights, configuration and card to ``path`` (.safetensors), atomically.

    Args:
        half: store float16, which halves the file; loading always gives float32.

    Raises:
        UserError: the detector is a view of another, or holds a network of which only its owner has the code.
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
    write_whole(Path(path), lambda temporary: _save(tensors, metadata, temporary))


def check_restorable(detector: Detector) -> None:
    """Raise ``UserError`` unless a file can say how to build the detector again."""
    if not detector.restorable:
        raise UserError(
            f"{detector.card.name} cannot be saved: a file could not say how to build it. Save what is inside, or "
            "derive its class from robustbench_aigi.Detector and name it module:Class."
        )


def _save(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """As safetensors does, whose metadata is in another order at every call: here they are sorted."""
    save_file(tensors, path, metadata=metadata)
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(metadata.items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise RuntimeError(f"the header of {path} grew from {length} to {len(text)} bytes by putting it in order")
        file.seek(8)
        file.write(text.ljust(length))


SHIPPED = Path(__file__).parent.parent / "weights"


def shipped_names(trained_on: str = "cifake") -> list[str]:
    """The detectors whose weights ship with the package, trained on that dataset."""
    return sorted(p.stem.removesuffix(f"-{trained_on}") for p in SHIPPED.glob(f"*-{trained_on}.safetensors"))


def shipped(name: str, trained_on: str = "cifake") -> Path:
    """The path of the weights that ship with the package. Raises ``BadCheckpoint`` naming those there are."""
    path = SHIPPED / f"{name}-{trained_on}.safetensors"
    if not path.is_file():
        known = ", ".join(shipped_names(trained_on)) or "none"
        raise BadCheckpoint(f"no weights of {name} for {trained_on} are shipped. Shipped: {known}.")
    return path


def load_detector(name: str, weights: str | Path | None = None, **config: Any) -> Detector:
    """Build a detector in evaluation mode.

    Args:
        name: a registered name, ``module:Class``, the path of a checkpoint written by :func:`save_detector`, or an
            address: ``hf:REPO``, ``timm:NAME``, ``onnx:PATH``, ``https://HOST/PATH`` (see :func:`addressed`). With
            ``weights="cifake"`` also a name that ships and is not registered, such as ``robust-tinyvit-5m``.
            ``NEW=`` before any of these calls it NEW in reports, as in ``before=runs/mine.safetensors``.
        weights: for the named detector: a checkpoint of ours or of its authors (.safetensors, or a torch file, read
            without running any code in it), or ``cifake`` for those that ship; None for fresh weights.
        config: arguments of the detector, such as ``model`` and ``pretrained`` of ``clip-mlp``; they replace those that
            a checkpoint of ours brings.

    Raises:
        UnknownName: no such detector. BadConfig: it does not take these arguments.
        BadCheckpoint: the file is missing, damaged, holds code, or does not fit the detector.
    """
    new, name = ("", name) if Path(name).is_file() else renamed(name)
    detector = _loaded(name, weights, config)
    if new:
        detector.card = detector.card.model_copy(update={"name": new})
    return detector


def _loaded(name: str, weights: str | Path | None, config: dict[str, Any]) -> Detector:
    if name.endswith(".safetensors"):
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
    cls = detectors.get(name)
    if ":" in name:
        return adapted(name, cls, config)
    taken = inspect.signature(cls)
    try:
        taken.bind(**config)
    except TypeError as error:
        raise BadConfig(f"{name}: {error}. It takes {', '.join(taken.parameters) or 'no argument'}.") from error
    return cls(**config)


def _from_checkpoint(path: Path, expected: str | None, config: dict[str, Any]) -> Detector:
    if not path.is_file():
        raise BadCheckpoint(
            f"no checkpoint at {path}. Train one with `robustbench-aigi train {expected or 'tinyvit-5m'}`."
        )
    metadata, tensors = read_tensors(path)
    name = metadata.get("detector", expected)
    if name is None:
        raise BadCheckpoint(
            f"{path} does not say which detector it is for. Name it: load_detector(NAME, weights={str(path)!r})."
        )
    if expected in detectors.names() and name != expected:
        raise BadCheckpoint(f"{path} holds weights of {name}, but {expected} was asked for. Write {name} instead.")
    own, card = _own(path, metadata)
    if "detector" in metadata:
        with weights_follow():
            detector = _built(name, own | config)
    else:
        detector = _built(name, config)
        tensors = dict(detector.adopted(tensors))
    try:
        detector.load_state_dict({key: _as(tensor) for key, tensor in tensors.items()})
    except RuntimeError as error:
        raise BadCheckpoint(
            f"{path} does not fit {name}: {str(error)[:300]}. Give a file that `train` wrote, or the one named in "
            "the detector's card."
        ) from error
    card = card or detector.card
    new = {"weights": f"sha256:{file_digest(path)}", "cam": card.cam or detector.card.cam}
    detector.card = card.model_copy(update=new)
    return detector.eval()


def _own(path: Path, metadata: Mapping[str, str]) -> tuple[dict[str, Any], Card | None]:
    """Arguments and card that a file says of itself. Raises ``BadCheckpoint``."""
    try:
        own = dict(json.loads(metadata.get("config", "{}")))
        return own, Card.model_validate_json(metadata["card"]) if "card" in metadata else None
    except (ValueError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadCheckpoint(
            f"what {path} says of itself cannot be read: {reason}. Give a file that `train` wrote."
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    """Metadata and tensors of a .safetensors file, or of a file that ``torch.save`` wrote; no code in it is run.

    A state dict below ``model`` or ``state_dict``, and a ``module.`` before every name, are looked through.

    Raises:
        BadCheckpoint: the file is damaged, or would have to run code.
    """
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                return file.metadata() or {}, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise BadCheckpoint(
                f"{path} is not a safetensors file: {error}. Give a file that `train` wrote."
            ) from error
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise BadCheckpoint(
            f"{path} is refused: it is damaged, or holds objects other than tensors, which could run code "
            f"({(str(error) or 'it is empty').splitlines()[0]}). Give .safetensors, or save the state dict alone."
        ) from error
    beside = {k: v for k, v in held.items() if isinstance(v, torch.Tensor)} if isinstance(held, dict) else {}
    for key in ("model", "state_dict"):
        held = held.get(key, held) if isinstance(held, dict) else held
    if not isinstance(held, dict) or not all(isinstance(value, torch.Tensor) for value in held.values()):
        raise BadCheckpoint(f"{path} holds {type(held).__name__}, not a state dict of tensors. Save the state dict.")
    return {}, {key.removeprefix("module."): value for key, value in (beside | held).items()}


def _as(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
