"""Reading an ONNX file: its session, digest, input layout, and the output that holds scores."""

import mmap
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from robustbench_aigi.detectors.external.outputs import import_optional
from robustbench_aigi.detectors.external.returned import OUTPUT_NAMES
from robustbench_aigi.errors import CheckpointError, UserError
from robustbench_aigi.io.hashing import digest, file_digest

FLOAT_TYPES = {
    "tensor(float)": torch.float32,
    "tensor(float16)": torch.float16,
    "tensor(double)": torch.float64,
}
"""Types of inputs and outputs that hold floating-point numbers, as ONNX Runtime calls them."""
LOCATION_ENTRY = re.compile(rb"\n\x08location\x12([\x80-\xff]?)([\x00-\x7f])")
"""In an ONNX file (protobuf), what stands before the name of a file with weights: a key, then the
name's length, of which the seven low bits come first where it takes two bytes.
"""


def open_session(model: str | bytes, who: str) -> Any:
    """Open an ONNX Runtime session on the CPU, with as many threads as torch has.

    Args:
        model: a file's path, or its bytes.
        who: what it is, for messages.

    Raises:
        UnavailableError: ONNX Runtime is not installed.
        CheckpointError: it cannot read the model.
    """
    runtime = import_optional("onnxruntime", "onnx")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors only
    try:
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no class in common
        raise CheckpointError(
            f"ONNX Runtime cannot read {who}: {error}. Give what an ONNX exporter wrote."
        ) from error


def checked_digest(path: Path, expected: str | None = None) -> str:
    """Return the SHA-256 of an ONNX file and of the files beside it that hold its weights.

    Args:
        path: the ONNX file.
        expected: the digest that it had before; None for any.

    Raises:
        CheckpointError: there is no such file, or its digest is not the expected one.
    """
    if not path.is_file():
        raise CheckpointError(f"no ONNX file at {path}. Write onnx: and the file's path.")
    beside = weight_digests(path)
    found = digest(file_digest(path), beside) if beside else file_digest(path)
    if expected not in (None, found):
        raise CheckpointError(
            f"{path} has changed: sha256 {found}, expected {expected}. Give the file that was"
            " saved."
        )
    return found


def weight_digests(path: Path) -> dict[str, str]:
    """Return the SHA-256 of the files beside an ONNX file that hold its weights, by name.

    Args:
        path: the ONNX file.
    """
    return {name: file_digest(path.parent / name) for name in weight_files(path)}


def weight_files(path: Path) -> list[str]:
    """Return the names of the existing files with weights that an ONNX file points to, sorted.

    The names are found in the file's bytes, so that the onnx package is not needed; a text that
    only looks like an entry names no existing file.

    Args:
        path: the ONNX file.
    """
    if not path.stat().st_size:
        return []
    names: set[str] = set()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        for entry in LOCATION_ENTRY.finditer(held):
            length = entry[2][0]
            if entry[1]:
                length = (entry[1][0] & 127) + (entry[2][0] << 7)
            names.add(held[entry.end() : entry.end() + length].decode(errors="ignore"))
    return sorted(name for name in names if "\0" not in name and (path.parent / name).is_file())


def is_channels_last(shape: Sequence[Any], channels_last: bool | None, path: str) -> bool:
    """Return whether an input of shape ``(N, ?, ?, ?)`` has its channels last.

    A size of 3 decides, then ``channels_last``, then a name such as ``num_channels`` that the graph
    gives to a size; where there is none, channels come first, as ONNX's own operators have them.

    Args:
        shape: sizes, or the names of those that are open.
        channels_last: what the user gave; None if nothing.
        path: of the file, for messages.

    Raises:
        UserError: neither place has room for three channels, or not the one that is asked for.

    Example:
        >>> is_channels_last(["n", 32, 32, 3], None, "a.onnx")
        True
    """
    may_be_first = not isinstance(shape[1], int) or shape[1] == 3
    may_be_last = not isinstance(shape[3], int) or shape[3] == 3
    if channels_last is None:
        fits = may_be_first or may_be_last
    else:
        fits = may_be_last if channels_last else may_be_first
    if not fits:
        asked = "" if channels_last is None else f" with channels_last={channels_last}"
        raise UserError(
            f"{path} must take one float input of shape (N, 3, H, W) or (N, H, W, 3), got"
            f" {list(shape)}{asked}. Export it with images alone."
        )
    if channels_last is not None:
        return channels_last
    if not (may_be_first and may_be_last):
        return may_be_last
    if 3 in (shape[1], shape[3]):
        return bool(shape[1] != 3)
    return "channel" in str(shape[3]).lower() and "channel" not in str(shape[1]).lower()


def score_output(
    outputs: Sequence[Any], asked: str | None, scale: str, path: str, *, many: bool
) -> str:
    """Return the name of the output that holds scores: a float tensor, never a label.

    Args:
        outputs: of a session, each with ``name``, ``type`` and ``shape``.
        asked: the name that the user gave; None if nothing.
        scale: of the scores, which decides between outputs with usual names.
        path: of the file, for messages.
        many: whether an output may hold more than two scores per image.

    Raises:
        UserError: there is none, several may be meant, or the one that is asked for holds labels.
    """
    listed = ", ".join(f"{o.name} {o.type} {o.shape}" for o in outputs)
    floats = [o for o in outputs if o.type in FLOAT_TYPES]
    if asked is not None:
        if asked not in [o.name for o in floats]:
            raise UserError(
                f"output {asked!r} of {path} is no float tensor: its outputs are {listed}. "
                f"{_hint([o.name for o in floats])}"
            )
        return asked
    fitting = floats if many else [o for o in floats if _may_be_few(o.shape)]
    if not fitting and len(floats) == 1:
        fitting = floats
    named = [o for o in fitting if o.name.lower() in OUTPUT_NAMES[scale]]
    if len(named) == 1:
        return str(named[0].name)
    if len(fitting) != 1:
        several = "several outputs" if fitting else "no output"
        raise UserError(
            f"{several} of {path} may hold one score per image: its outputs are {listed}. "
            f"{_hint([o.name for o in fitting or floats], path)}"
        )
    return str(fitting[0].name)


def _hint(names: Sequence[str], path: str = "") -> str:
    """Return what to write, as far as there are outputs to choose from."""
    if not names:
        return (
            "Export it with its scores as a float tensor; of scikit-learn's models that is"
            " skl2onnx's option {'zipmap': False}."
        )
    example = f", as in `onnx:{path}?output={names[0]}`." if path else "."
    return f"Choose one: output={names[0]!r}{example}"


def _may_be_few(shape: Sequence[Any]) -> bool:
    """Return whether one or two scores per image fit into an output of this shape."""
    per_image = 1
    for size in shape[1:]:
        per_image *= size if isinstance(size, int) else 1
    return per_image in (1, 2)
