"""Reading a torch file without running code in it, and naming the code where it holds some."""

import argparse
import pathlib
import re
import struct
import types
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from robustbench_aigi.errors import CheckpointError

LOAD_ERRORS: tuple[type[Exception], ...] = (
    UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    struct.error,
)
"""What torch raises for a file that is damaged, or that torch did not write."""


def unpickled(path: Path) -> Any:
    """Return what ``torch.save`` wrote.

    Args:
        path: the file, whatever its ending.

    Raises:
        CheckpointError: the file is damaged, or holds objects that could run code.
    """
    try:
        # torch reads a path by its ending, an open file by its content
        safe = torch.serialization.safe_globals(_harmless_classes())
        with safe, path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about protocols that it then cannot read
            return torch.load(file, map_location="cpu", weights_only=True)
    except LOAD_ERRORS as error:
        if classes := _classes_in(path, str(error)):
            raise CheckpointError(_holds_objects(path, classes)) from error
        raise CheckpointError(
            f"{path} is rejected: it is damaged, or torch did not write it ({_reason(error)})."
            " Download it again, or give .safetensors or a state dict that torch.save wrote."
        ) from error


def _reason(error: Exception) -> str:
    """Return the part of torch's message that says what is wrong with a file."""
    unpickled = re.search(r"WeightsUnpickler error: (.+)", str(error))
    if unpickled:
        return unpickled[1]
    return (str(error) or "it ends too early").splitlines()[0].split(". ")[0]


def _classes_in(path: Path, message: str) -> list[str]:
    """Return the classes of objects in a file that torch does not build without trust."""
    try:
        with torch.serialization.safe_globals(_harmless_classes()), path.open("rb") as file:
            found = torch.serialization.get_unsafe_globals_in_checkpoint(file)
    except (UnpicklingError, RuntimeError, OSError, ValueError, EOFError, KeyError):
        found = []  # a file of torch before 1.6: its error names the first one
    return sorted(found) or re.findall(r"(?:GLOBAL|class) ([\w.]+\.\w+)", message)[:1]


def _holds_objects(path: Path, classes: list[str]) -> str:
    is_network = any(name.startswith("torch.nn.modules.") for name in classes)
    usual = ("torch.", "collections.", "builtins.set")
    own = [name for name in classes if not name.startswith(usual)] or classes
    what = "a whole network" if is_network else "objects"
    return (
        f"{path} is rejected: it holds {what} pickled by its class ({first_three(own)}), and"
        " opening that could run code. Where it was made, save the tensors alone:"
        " torch.save(model.state_dict(), 'weights.pth')."
    )


def _harmless_classes() -> list[Any]:
    """Return classes of settings and metrics; building one runs only its own constructor."""
    scalar = np.float64(0).__reduce__()[0]
    array = np.zeros(0).__reduce__()[0]
    numpy_homes = ("numpy._core.multiarray", "numpy.core.multiarray")
    path_homes = ("pathlib", "pathlib._local")
    codes = ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")
    return [
        *(type(np.dtype(code)) for code in codes),
        argparse.Namespace,
        types.SimpleNamespace,
        np.dtype,
        np.ndarray,
        *((scalar, f"{module}.scalar") for module in numpy_homes),
        *((array, f"{module}._reconstruct") for module in numpy_homes),
        *((pathlib.PosixPath, f"{module}.PosixPath") for module in path_homes),
    ]


def first_three(names: list[str]) -> str:
    """Return the first three names, and how many more there are.

    Args:
        names: in the order in which they are shown.

    Example:
        >>> first_three(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
