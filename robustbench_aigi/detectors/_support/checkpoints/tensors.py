"""Tensors of a checkpoint, whatever it was saved in; no code in a file is run."""

import argparse
import pathlib
import re
import struct
import types
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from robustbench_aigi.detectors._support.checkpoints.file_kinds import check_is_weights
from robustbench_aigi.errors import CheckpointError

ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".pt.tar")
SCHEMES = ("hf:", "timm:", "onnx:", "http:", "https:")
PLAIN = ("model", "state_dict", "model_state_dict", "net", "network", "module", "weights", "params")
EMA = ("ema", "ema_state_dict", "ema_model", "model_ema", "state_dict_ema", "params_ema")
"""Keys that a state dict is looked for below, first ones first; an average (EMA) only where it
stands alone.
"""

COUNTERS = ("total_ops", "total_params")
"""Buffers that the profiler thop leaves in every layer."""

MAX_DEPTH = 6
"""Containers in containers that are looked through."""


class Stored(NamedTuple):
    """What a checkpoint holds: metadata of safetensors, tensors by name, names found beside the
    state dict, notes.
    """

    metadata: dict[str, str]
    tensors: dict[str, Tensor]
    beside: frozenset[str]
    notes: tuple[str, ...]


def is_checkpoint_path(name: str) -> bool:
    """Whether a detector's name is the path of a file of weights, by its ending.

    Example:
        >>> names = ("runs/mine.safetensors", "a.pth", "tinyvit-5m", "onnx:a.pt")
        >>> [is_checkpoint_path(name) for name in names]
        [True, True, False, False]
    """
    return name.lower().endswith(ENDINGS) and not name.startswith(SCHEMES)


def read_tensors(path: Path) -> Stored:
    """Read a .safetensors file or one that ``torch.save`` wrote, whichever the content is; no code
    in it is run.

    Raises:
        CheckpointError: the file is damaged, something else, or would have to run code.
    """
    kind = check_is_weights(path)
    if kind == "safetensors" or (kind == "unknown" and path.suffix == ".safetensors"):
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise CheckpointError(
                f"{path} is not a safetensors file: {error}. Give a file that `train` wrote, or"
                " download it again."
            ) from error
        kept, notes = _without_counters(tensors)
        return Stored(metadata, kept, frozenset(), notes)
    held, beside, notes = _looked_through(_loaded(path))
    if not isinstance(held, Mapping):
        raise CheckpointError(
            f"{path} holds {type(held).__name__}, not a state dict of tensors. Save the state dict."
        )
    tensors = {name: value.detach() for name, value in held.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(str(key) for key in list(held)[:8]) or "nothing"
        raise CheckpointError(
            f"{path} holds no state dict below {', '.join(PLAIN)} or {EMA[0]}: it holds {keys}."
            " Save that part alone: torch.save(checkpoint[KEY], 'weights.pth')."
        )
    if other := [str(name) for name in held if name not in tensors]:
        notes += (f"left out what is no tensor: {first_three(other)}",)
    kept, dropped = _without_counters(
        {str(name): value for name, value in (beside | tensors).items()}
    )
    return Stored({}, kept, frozenset(beside) - frozenset(tensors), notes + dropped)


def first_three(names: list[str]) -> str:
    """The first three names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def _looked_through(held: Any) -> tuple[Any, dict[str, Tensor], tuple[str, ...]]:
    """The innermost state dict, tensors that stand beside it, and notes."""
    notes: list[str] = []
    beside: dict[str, Tensor] = {}
    path: list[str] = []
    for _ in range(MAX_DEPTH):
        there = [
            key
            for key in PLAIN + EMA
            if isinstance(held, Mapping) and isinstance(held.get(key), Mapping)
        ]
        there = [key for key in there if held[key]]
        if not there:
            break
        path.append(there[0])
        if len(there) > 1:
            notes.append(f"{there[0]} is taken; {', '.join(there[1:])} is in the file, too")
        beside |= {
            name: value.detach() for name, value in held.items() if isinstance(value, Tensor)
        }
        held = held[there[0]]
    if path:
        notes.insert(0, f"read below {'.'.join(path)}")
    return held, beside, tuple(notes)


def _without_counters(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    kept = {
        name: value for name, value in tensors.items() if name.rpartition(".")[2] not in COUNTERS
    }
    dropped = len(tensors) - len(kept)
    return kept, (
        (f"dropped {dropped} counters of thop ({', '.join(COUNTERS)})",) if dropped else ()
    )


DAMAGE: tuple[type[Exception], ...] = (
    *(
        UnpicklingError,
        RuntimeError,
        OSError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
    ),
    *(ArithmeticError, AssertionError, MemoryError, struct.error),
)
"""What torch raises for a file that is damaged, or that is none of its own."""


def _plain_classes() -> list[Any]:
    """Classes that hold settings and metrics beside tensors: to build one runs nothing but its own
    constructor.
    """
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    homes = ("numpy._core.multiarray", "numpy.core.multiarray")
    kinds = [
        type(np.dtype(code))
        for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    ]
    return [
        *kinds,
        argparse.Namespace,
        types.SimpleNamespace,
        np.dtype,
        np.ndarray,
        *((scalar, f"{module}.scalar") for module in homes),
        *((array, f"{module}._reconstruct") for module in homes),
        *((pathlib.PosixPath, f"{module}.PosixPath") for module in ("pathlib", "pathlib._local")),
    ]


def _loaded(path: Path) -> Any:
    """What ``torch.save`` wrote. Raises ``CheckpointError``."""
    try:
        # a path is read by its ending, an open file by its content
        safe = torch.serialization.safe_globals(_plain_classes())
        with safe, path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of protocols that it then cannot read
            return torch.load(file, map_location="cpu", weights_only=True)
    except DAMAGE as error:
        if classes := _classes_in(path, str(error)):
            raise CheckpointError(_holds_objects(path, classes)) from error
        unpickled = re.search(r"WeightsUnpickler error: (.+)", str(error))
        reason = (
            unpickled[1]
            if unpickled
            else (str(error) or "it ends too early").splitlines()[0].split(". ")[0]
        )
        raise CheckpointError(
            f"{path} is refused: it is damaged, or torch did not write it ({reason}). Download it"
            " again, or give .safetensors or a state dict that torch.save wrote."
        ) from error


def _classes_in(path: Path, message: str) -> list[str]:
    """Classes of the objects in a file that torch does not build without trust."""
    try:
        with torch.serialization.safe_globals(_plain_classes()), path.open("rb") as file:
            found = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except (UnpicklingError, RuntimeError, OSError, ValueError, EOFError, KeyError):
        found = []  # a file of before torch 1.6: its error names the first one
    return sorted(found) or re.findall(r"(?:GLOBAL|class) ([\w.]+\.\w+)", message)[:1]


def _holds_objects(path: Path, classes: list[str]) -> str:
    whole = any(name.startswith("torch.nn.modules.") for name in classes)
    own = [
        name for name in classes if not name.startswith(("torch.", "collections.", "builtins.set"))
    ] or classes
    what = "a whole network" if whole else "objects"
    return (
        f"{path} is refused: it holds {what} pickled by its class ({first_three(own)}), and opening"
        " that could run code. Where it was made, save the tensors alone:"
        " torch.save(model.state_dict(), 'weights.pth')."
    )
