"""An ONNX file from outside: its session, its digest, the layout of its input, and the output that
holds scores.
"""

import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from robustbench_aigi.detectors.external.outputs import optional
from robustbench_aigi.detectors.external.returned import NAMES
from robustbench_aigi.errors import CheckpointError, UserError
from robustbench_aigi.io.hashing import digest, file_digest

TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
}
LOCATION = re.compile(rb"\n\x08location\x12([\x80-\xff]?)([\x00-\x7f])")
"""In an ONNX file (protobuf), what stands before the name of a file with weights: a key, then the
name's length, of which the seven low bits come first where it takes two bytes.
"""


def session(model: str | bytes, who: str) -> Any:
    """An ONNX Runtime session on the CPU, with as many threads as torch has.

    Args:
        model: a file's path, or its bytes. who: what it is, for messages.

    Raises:
        UnavailableError: ONNX Runtime is not installed. CheckpointError: it cannot read the model.
    """
    runtime = optional("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise CheckpointError(
            f"ONNX Runtime cannot read {who}: {error}. Give what an ONNX exporter wrote."
        ) from error


def checked_digest(path: Path, expected: str | None = None) -> str:
    """SHA-256 of an ONNX file, and of the files beside it that hold its weights, if there are any.

    Raises ``CheckpointError`` if there is no such file, or its digest is not the expected one.
    """
    if not path.is_file():
        raise CheckpointError(f"no ONNX file at {path}. Write onnx: and the file's path.")
    beside = {name: file_digest(path.parent / name) for name in weight_files(path)}
    found = digest(file_digest(path), beside) if beside else file_digest(path)
    if expected not in (None, found):
        raise CheckpointError(
            f"{path} has changed: sha256 {found}, expected {expected}. Give the file that was"
            " saved."
        )
    return found


def weight_files(path: Path) -> list[str]:
    """Names of the files with weights that an ONNX file points to, sorted; those that are there.

    They are looked for in the file's bytes, so that the onnx package is not needed.
    """
    if not path.stat().st_size:
        return []
    names: set[str] = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        for found in LOCATION.finditer(held):
            length = (found[1][0] & 127) + (found[2][0] << 7) if found[1] else found[2][0]
            names.add(held[found.end() : found.end() + length].decode(errors="ignore"))
    return sorted(name for name in names if "\0" not in name and (path.parent / name).is_file())


def layout_of(shape: Sequence[Any], channels_last: bool | None, path: str) -> bool:
    """Whether an input of shape ``(N, ?, ?, ?)`` has its channels last.

    A size of 3 decides, then ``channels_last``, then a name such as ``num_channels`` that the graph
    gives to a size; where there is none, channels come first, as ONNX's own operators have them.

    Raises:
        UserError: neither place has room for three channels, or not the one that is asked for.
    """
    free = [not isinstance(size, int) or size == 3 for size in (shape[1], shape[3])]
    if not any(free) or (channels_last is not None and not free[channels_last]):
        asked = "" if channels_last is None else f" with channels_last={channels_last}"
        raise UserError(
            f"{path} must take one float input of shape (N, 3, H, W) or (N, H, W, 3), got"
            f" {list(shape)}{asked}. Export it with images alone."
        )
    if channels_last is not None:
        return channels_last
    if 3 in (shape[1], shape[3]) or not all(free):
        return shape[1] != 3 and free[1] and (shape[3] == 3 or not free[0])
    return "channel" in str(shape[3]).lower() and "channel" not in str(shape[1]).lower()


def score_output(
    outputs: Sequence[Any], asked: str | None, scale: str, path: str, *, many: bool
) -> str:
    """The name of the output that holds scores: a float tensor, never a label.

    Args:
        asked: its name, where the user gave it. many: whether more than two scores per image are
            fine.

    Raises:
        UserError: there is none, several may be meant, or the one that is asked for holds labels.
    """
    listed = ", ".join(f"{o.name} {o.type} {o.shape}" for o in outputs)
    floats = [o for o in outputs if o.type in TYPES]
    if asked is not None:
        if asked not in [o.name for o in floats]:
            raise UserError(
                f"output {asked!r} of {path} is no float tensor: its outputs are {listed}. "
                f"{_hint([o.name for o in floats])}"
            )
        return asked
    few = floats if many else [o for o in floats if _may_be_few(o.shape)]
    fit = few or floats[: len(floats) == 1]
    called = [o for o in fit if o.name.lower() in NAMES[scale]]
    if len(called) != 1 and len(fit) != 1:
        several = "several outputs" if fit else "no output"
        raise UserError(
            f"{several} of {path} may hold one score per image: its outputs are {listed}. "
            f"{_hint([o.name for o in fit or floats], path)}"
        )
    return str((called if len(called) == 1 else fit)[0].name)


def _hint(names: Sequence[str], path: str = "") -> str:
    if names:
        return f"Say which: output={names[0]!r}" + (
            f", as in `onnx:{path}?output={names[0]}`." if path else "."
        )
    return (
        "Export it with its scores as a float tensor; of scikit-learn's models that is skl2onnx's"
        " option {'zipmap': False}."
    )


def _may_be_few(shape: Sequence[Any]) -> bool:
    """Whether one or two scores per image fit into an output of this shape."""
    each = 1
    for size in shape[1:]:
        each *= size if isinstance(size, int) else 1
    return each in (1, 2)
