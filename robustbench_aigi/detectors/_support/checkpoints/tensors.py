"""Reading the tensors of a checkpoint, however it was saved, without running code in it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from robustbench_aigi.detectors._support.checkpoints.file_kinds import check_is_weights
from robustbench_aigi.detectors._support.checkpoints.unpickling import first_three, unpickled
from robustbench_aigi.errors import CheckpointError

STATE_DICT_KEYS = (
    "model",
    "state_dict",
    "model_state_dict",
    "net",
    "network",
    "module",
    "weights",
    "params",
)
"""Keys that a state dict may stand below, in the order of preference."""
EMA_KEYS = ("ema", "ema_state_dict", "ema_model", "model_ema", "state_dict_ema", "params_ema")
"""Keys of averaged weights, which are taken only where no other state dict is there."""
PROFILER_COUNTERS = ("total_ops", "total_params")
"""Buffers that the profiler thop leaves in every layer."""
MAX_DEPTH = 6
"""Containers in containers that are searched."""
SHOWN_KEYS = 8
"""Keys of a file without a state dict that a message names."""


class StoredTensors(NamedTuple):
    """The content of a checkpoint.

    Attributes:
        metadata: of a safetensors file; empty for a torch file.
        tensors: by name.
        beside: names of the tensors that stand beside the state dict.
        notes: what was chosen or left out, one sentence each.
    """

    metadata: dict[str, str]
    tensors: dict[str, Tensor]
    beside: frozenset[str]
    notes: tuple[str, ...]


def read_tensors(path: Path) -> StoredTensors:
    """Read a safetensors file or one that ``torch.save`` wrote, judged by content, not by ending.

    Args:
        path: the file. No code in it is run.

    Raises:
        CheckpointError: the file is damaged, something else, or would have to run code.
    """
    kind = check_is_weights(path)
    if kind == "safetensors" or (kind == "unknown" and path.suffix == ".safetensors"):
        return _read_safetensors(path)
    return _read_torch(path)


def _read_safetensors(path: Path) -> StoredTensors:
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
    return StoredTensors(metadata, kept, frozenset(), notes)


def _read_torch(path: Path) -> StoredTensors:
    found = _search(unpickled(path))
    if not isinstance(found.inner, Mapping):
        raise CheckpointError(
            f"{path} holds {type(found.inner).__name__}, not a state dict of tensors. Save the"
            " state dict."
        )
    tensors = _tensors_in(found.inner)
    if not tensors:
        keys = ", ".join(str(key) for key in list(found.inner)[:SHOWN_KEYS]) or "nothing"
        raise CheckpointError(
            f"{path} holds no state dict below {', '.join(STATE_DICT_KEYS)} or {EMA_KEYS[0]}: it"
            f" holds {keys}. Save that part alone: torch.save(checkpoint[KEY], 'weights.pth')."
        )
    notes = tuple(found.notes)
    if other := [str(name) for name in found.inner if name not in tensors]:
        notes += (f"left out what is no tensor: {first_three(other)}",)
    kept, dropped = _without_counters(
        {str(name): value for name, value in (found.beside | tensors).items()}
    )
    return StoredTensors({}, kept, frozenset(found.beside) - frozenset(tensors), notes + dropped)


@dataclass
class _Found:
    """A container in a torch file.

    Attributes:
        inner: the innermost state dict found so far.
        beside: tensors that stand beside it, by name.
        notes: what was chosen, one sentence each.
    """

    inner: Any
    beside: dict[str, Tensor] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def _search(held: Any) -> _Found:
    """Find the innermost state dict below the usual keys."""
    found = _Found(held)
    path: list[str] = []
    for _ in range(MAX_DEPTH):
        keys = _container_keys(found.inner)
        if not keys:
            break
        path.append(keys[0])
        if len(keys) > 1:
            found.notes.append(f"{keys[0]} is taken; {', '.join(keys[1:])} is in the file, too")
        found.beside |= _tensors_in(found.inner)
        found.inner = found.inner[keys[0]]
    if path:
        found.notes.insert(0, f"read below {'.'.join(path)}")
    return found


def _container_keys(held: Any) -> list[str]:
    """Return the usual keys below which there is a filled mapping."""
    if not isinstance(held, Mapping):
        return []
    keys = STATE_DICT_KEYS + EMA_KEYS
    return [key for key in keys if isinstance(held.get(key), Mapping) and held[key]]


def _tensors_in(held: Mapping[Any, Any]) -> dict[Any, Tensor]:
    return {name: value.detach() for name, value in held.items() if isinstance(value, Tensor)}


def _without_counters(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Drop a profiler's counters; return the other tensors, and a note if there were any."""
    kept = {
        name: value
        for name, value in tensors.items()
        if name.rpartition(".")[2] not in PROFILER_COUNTERS
    }
    dropped = len(tensors) - len(kept)
    if not dropped:
        return kept, ()
    return kept, (f"dropped {dropped} counters of thop ({', '.join(PROFILER_COUNTERS)})",)
