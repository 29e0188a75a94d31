"""Fitting the tensors of a foreign checkpoint to a detector's names, noting every change."""

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from robustbench_aigi.detectors._support.checkpoints.tensors import StoredTensors
from robustbench_aigi.detectors._support.checkpoints.unpickling import first_three
from robustbench_aigi.detectors._support.fetching import without_pretrained_weights
from robustbench_aigi.detectors.base import Detector, detectors
from robustbench_aigi.errors import CheckpointError, UserError

NAME_PREFIXES = (
    "module.",
    "model.",
    "net.",
    "network.",
    "backbone.",
    "encoder.",
    "detector.",
    "state_dict.",
)
"""Prefixes that training frameworks put before the names of tensors."""
COMPILED_PREFIX = "_orig_mod."
"""What ``torch.compile`` puts into the names of tensors, at any depth."""
COUNTER_NAME = "num_batches_tracked"
"""Ending of the names of batch norms' counters, which no logit depends on."""
MAX_STRIPPED = 4
"""Prefixes that are removed one after the other, at most."""
POSITION_WORDS = ("pos_embed", "position", "attention_bias", "relative_")
"""What the names of tensors hold whose shape follows from the number of image patches."""
MIN_ALIKE = 0.9
"""Share of tensors whose shapes must match: attention biases are resized where windows differ."""


@dataclass(frozen=True)
class _Fit:
    """A state dict under one renaming, compared with a detector's own.

    Attributes:
        own: the detector's state dict.
        state: the tensors of the checkpoint under the detector's names.
        steps: how they were renamed, one sentence each.
    """

    own: Mapping[str, Tensor]
    state: Mapping[str, Tensor]
    steps: tuple[str, ...] = ()

    @cached_property
    def fresh(self) -> list[str]:
        """Names whose tensors are the detector's own, because the file brings none."""
        own_ids = {storage_id(value) for value in self.own.values()}
        return [n for n in self.state if n in self.own and storage_id(self.state[n]) in own_ids]

    @cached_property
    def unexpected(self) -> list[str]:
        """Names that the detector does not have."""
        return [name for name in self.state if name not in self.own]

    @cached_property
    def missing(self) -> list[str]:
        """Names that only the detector has."""
        return [n for n in self.own if n not in self.state and not n.endswith(COUNTER_NAME)]

    @cached_property
    def reshaped(self) -> list[str]:
        """Names whose tensors have another shape in the detector."""
        common = [name for name in self.state if name in self.own]
        return [name for name in common if self.state[name].shape != self.own[name].shape]

    @property
    def score(self) -> tuple[int, int, int]:
        """How well the state dict fits; higher is better."""
        matched = len(self.state) - len(self.unexpected) - len(self.fresh)
        return matched - len(self.reshaped), matched, -len(self.unexpected)

    @property
    def is_whole(self) -> bool:
        """Whether every tensor of the detector, and no other, is there."""
        return not (self.unexpected or self.missing or self.reshaped)


def fit_tensors(
    detector: Detector, stored: StoredTensors
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Rename a foreign checkpoint's tensors to a detector's names.

    A prefix is removed, or ``net.`` put before, only if more tensors fit the detector that way.

    Args:
        detector: built already; its state dict gives the names and shapes.
        stored: the content of the checkpoint.

    Returns:
        The detector's state dict, and notes of what was renamed, dropped or is not in the file.

    Raises:
        CheckpointError: the detector rejects the checkpoint, or the tensors are not real numbers.
    """
    own = detector.state_dict()
    best = _best_fit(detector, stored, own)
    notes = [*stored.notes, *best.steps]
    strays = {storage_id(stored.tensors[name]) for name in stored.beside if name in stored.tensors}
    left_out = [name for name in best.unexpected if storage_id(best.state[name]) in strays]
    if left_out:
        notes.append(f"left out what stands beside the state dict: {first_three(left_out)}")
    if best.fresh:
        notes.append(f"not in the file, and as the detector was built: {first_three(best.fresh)}")
    counters = {name: value for name, value in own.items() if name.endswith(COUNTER_NAME)}
    state = counters | {name: value for name, value in best.state.items() if name not in left_out}
    _check_real(state, own)
    return state, tuple(notes)


def _best_fit(detector: Detector, stored: StoredTensors, own: Mapping[str, Tensor]) -> _Fit:
    """Return the first whole fit, or else the best one. Raises ``CheckpointError`` for none."""
    best: _Fit | None = None
    rejection: Exception | None = None
    for steps, tensors in _renamings(stored.tensors, own):
        try:
            fit = _Fit(own, dict(detector.adopted(tensors)), steps)
        except (CheckpointError, KeyError, IndexError, RuntimeError) as error:
            rejection = rejection or error
            continue
        if best is None or fit.score > best.score:
            best = fit
        if best.is_whole:
            return best
    if isinstance(rejection, CheckpointError):
        raise CheckpointError(str(rejection)) from rejection
    if best is None:
        raise CheckpointError(
            f"the tensors of the file are not those of {detector.card.name}: {rejection}. Give its"
            " own checkpoint."
        ) from rejection
    return best


def describe_misfit(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Return the missing, unexpected and reshaped tensors of a state dict, three of each.

    Args:
        state: the tensors of a checkpoint under the detector's names.
        own: the detector's state dict.

    Example:
        >>> describe_misfit({"a": torch.ones(2)}, {"a": torch.ones(3), "b": torch.ones(1)})
        'missing: b; of another shape: a (2,) for (3,)'
    """
    fit = _Fit(own, state)
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}" for name in fit.reshaped
    ]
    parts = (("missing", fit.missing), ("unexpected", fit.unexpected), ("of another shape", shapes))
    return "; ".join(f"{what}: {first_three(names)}" for what, names in parts if names)


def is_of_another_size(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> bool:
    """Return whether tensors differ in shape alone, and only those that count image patches.

    Args:
        state: the tensors of a checkpoint under the detector's names.
        own: the detector's state dict.

    Example:
        >>> table = "net.pos_embed"
        >>> is_of_another_size({table: torch.ones(1, 577, 8)}, {table: torch.ones(1, 197, 8)})
        True
    """
    fit = _Fit(own, state)
    counts_patches = all(any(word in name for word in POSITION_WORDS) for name in fit.reshaped)
    return bool(fit.reshaped) and counts_patches and not fit.missing and not fit.unexpected


def fitting_detectors(stored: StoredTensors) -> list[str]:
    """Return the names of the registered detectors, built by default, that a checkpoint fits.

    Args:
        stored: the content of the checkpoint.
    """
    return [name for name in detectors.names() if _fits(name, stored)]


def _fits(name: str, stored: StoredTensors) -> bool:
    try:
        with torch.device("meta"), without_pretrained_weights(), warnings.catch_warnings():
            # a detector that loads a part of itself warns that nothing is copied to meta
            warnings.simplefilter("ignore")
            detector = detectors.get(name)()
        own = detector.state_dict()
        state, _ = fit_tensors(detector, stored)
    except (UserError, RuntimeError, ValueError, OSError):  # it cannot be built here
        return False
    if state.keys() != own.keys():
        return False
    alike = [key for key in own if state[key].shape == own[key].shape]
    return len(alike) > MIN_ALIKE * len(own)


def storage_id(tensor: Tensor) -> Any:
    """Return what two views of the same values share; an own id for a tensor without storage.

    Args:
        tensor: of any shape, also on the meta device.
    """
    return id(tensor) if tensor.is_meta or not tensor.numel() else tensor.data_ptr()


def _renamings(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield the tensors under their own names, then with prefixes removed, with the steps taken.

    Where the detector keeps its network below ``net.``, each is followed by one with that prefix.
    """
    plain = {name.replace(COMPILED_PREFIX, ""): value for name, value in tensors.items()}
    start: tuple[str, ...] = ()
    if plain.keys() != tensors.keys():
        start = (f"took {COMPILED_PREFIX!r} off",)
    is_below_net = any(name.startswith("net.") for name in own)
    level = [(start, plain)]
    for _ in range(MAX_STRIPPED + 1):
        following = []
        for steps, named in level:
            yield steps, named
            if is_below_net:
                below = {f"net.{name}": value for name, value in named.items()}
                yield (*steps, "put 'net.' before"), below
            following += [((*steps, step), shorter) for step, shorter in _stripped(named)]
        level = following


def _stripped(named: Mapping[str, Tensor]) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Yield the tensors without each prefix that some of them have, with the step taken."""
    for prefix in NAME_PREFIXES:
        shorter = {name.removeprefix(prefix): value for name, value in named.items()}
        if shorter.keys() != named.keys() and len(shorter) == len(named):
            yield f"took {prefix!r} off", shorter


def _check_real(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    """Raise ``CheckpointError`` for a tensor that is quantised, of integers or complex."""
    for name in state.keys() & own.keys():
        value = state[name]
        if value.is_quantized or (own[name].is_floating_point() and not value.is_floating_point()):
            raise CheckpointError(
                f"{name} is of {value.dtype}, not of floating-point numbers: the checkpoint is"
                " quantised or of another kind. Give the weights as they were before, in float32"
                " or float16."
            )
