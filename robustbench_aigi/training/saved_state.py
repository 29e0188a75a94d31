"""State of a training on disk, from which a killed training resumes."""

import io
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from robustbench_aigi.errors import CheckpointError
from robustbench_aigi.io.files import atomic_write


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state atomically.

    Args:
        path: file to create or replace.
        state: tensors, numbers, texts, and tuples, lists and dictionaries of them.

    Raises:
        WriteError: the disk is full; the state before this one is still there.
    """
    content = io.BytesIO()  # on a full disk, torch.save to a file raises an error of its own
    torch.save(state, content)
    atomic_write(path, lambda temporary: temporary.write_bytes(content.getbuffer()))


def load(path: Path, key: str) -> dict[str, Any] | None:
    """Read a state; None if there is none, or only that of another training.

    Args:
        path: file that :func:`save` wrote.
        key: of the training; a state with another ``"key"`` will be overwritten.

    Raises:
        CheckpointError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except (UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"{path}, the state of a killed training, is damaged: {reason}. Delete it and rerun"
            " the command to train from the start."
        ) from error
    return state if state.get("key") == key else None
