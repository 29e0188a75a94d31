"""Saving a detector as a safetensors file with its name, arguments and card."""

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from robustbench_aigi.detectors.base import Detector, detectors
from robustbench_aigi.errors import UserError
from robustbench_aigi.io.files import atomic_write


def save_detector(detector: Detector, path: str | Path, *, half: bool = False) -> None:
    """Write weights, configuration and card to a .safetensors file, atomically.

    Args:
        detector: a registered detector, or one of an importable class.
        path: the file to write; missing folders are created.
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
    atomic_write(Path(path), lambda temporary: _save_sorted(tensors, metadata, temporary))


def check_restorable(detector: Detector) -> None:
    """Raise ``UserError`` unless a file can say how to build the detector again.

    Args:
        detector: what is to be saved.
    """
    if not detector.restorable:
        raise UserError(
            f"{detector.card.name} cannot be saved: a file could not say how to build it. Save what"
            " is inside, or derive its class from robustbench_aigi.Detector and name it"
            " module:Class."
        )


def _save_sorted(tensors: dict[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Write a safetensors file whose metadata is sorted, so that equal detectors give equal bytes.

    The safetensors library writes metadata in another order at every call.
    """
    save_file(tensors, path, metadata=metadata)
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(metadata.items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        if len(text) > length:
            raise RuntimeError(
                f"the header of {path} grew from {length} to {len(text)} bytes by sorting it"
            )
        file.seek(8)
        file.write(text.ljust(length))
