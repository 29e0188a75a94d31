"""The state of a training on disk, from which it goes on after a kill."""

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from robustbench_aigi.errors import CheckpointError
from robustbench_aigi.io.files import atomic_write


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state; the one before it stays until this one is whole."""
    content = (
        io.BytesIO()
    )  # on a full disk torch.save ends with an error of its own, whatever it writes to
    torch.save(state, content)
    atomic_write(path, lambda temporary: temporary.write_bytes(content.getbuffer()))


def load(path: Path | None, key: str) -> dict[str, Any] | None:
    """The state in a file; None if there is none, or one of another training, which will be
    overwritten.

    Raises:
        CheckpointError: the file is damaged.
    """
    if path is None or not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{path}, the state of a killed training, is damaged: {str(error).splitlines()[0]}."
            " Delete it, and the training begins anew."
        ) from error
    return state if state.get("key") == key else None
