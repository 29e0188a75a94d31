"""Names of a foreign checkpoint's tensors, matched to those of a detector; what was changed is
noted.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from robustbench_aigi.detectors._support.checkpoints.tensors import Stored, first_three
from robustbench_aigi.detectors._support.fetching import weights_follow
from robustbench_aigi.detectors.base import Detector, detectors
from robustbench_aigi.errors import CheckpointError, UserError

PREFIXES = (
    "module.",
    "model.",
    "net.",
    "network.",
    "backbone.",
    "encoder.",
    "detector.",
    "state_dict.",
)
COMPILED = "_orig_mod."
MAX_STRIPPED = 4
"""Prefixes that are taken off one after the other, at most."""


class _Fit:
    """A state dict for a detector under one renaming, and how well it fits."""

    def __init__(
        self, own: Mapping[str, Tensor], state: Mapping[str, Tensor], steps: tuple[str, ...]
    ) -> None:
        self.state, self.steps = dict(state), steps
        kept = {id_of(value) for value in own.values()}
        self.fresh = [name for name in state if name in own and id_of(state[name]) in kept]
        self.unexpected = [name for name in state if name not in own]
        self.missing = [
            name for name in own if name not in state and not name.endswith("num_batches_tracked")
        ]
        self.reshaped = [
            name for name in state if name in own and state[name].shape != own[name].shape
        ]
        matched = len(state) - len(self.unexpected) - len(self.fresh)
        self.score = (matched - len(self.reshaped), matched, -len(self.unexpected))

    @property
    def whole(self) -> bool:
        """Whether every tensor of the detector, and no other, is there."""
        return not (self.unexpected or self.missing or self.reshaped)


MIN_ALIKE = 0.9
"""Share of tensors whose shapes must be alike: attention biases are resized where windows differ.
"""


def fitted(detector: Detector, stored: Stored) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The state dict of a detector from a checkpoint of others, and notes of what was renamed,
    dropped or not there.

    A prefix is taken off, or ``net.`` put before, only if more tensors fit the detector that way.

    Raises:
        CheckpointError: the detector says that it cannot be one of its checkpoints, or the tensors
            are no real numbers.
    """
    own = detector.state_dict()
    best, refusal = None, None
    for steps, tensors in _renamings(stored.tensors, own):
        try:
            fit = _Fit(own, detector.adopted(tensors), steps)
        except (CheckpointError, KeyError, IndexError, RuntimeError) as error:
            refusal = refusal or error
            continue
        if best is None or fit.score > best.score:
            best = fit
        if best.whole:
            break
    if best is None or (isinstance(refusal, CheckpointError) and not best.whole):
        raise CheckpointError(
            str(refusal)
            if isinstance(refusal, CheckpointError)
            else (
                f"the tensors of the file are not those of {detector.card.name}: {refusal}. Give"
                " its own checkpoint."
            )
        ) from refusal
    notes = [*stored.notes, *best.steps]
    strays = {id_of(stored.tensors[name]) for name in stored.beside if name in stored.tensors}
    left = [name for name in best.unexpected if id_of(best.state[name]) in strays]
    if left:
        notes.append(f"left out what stands beside the state dict: {first_three(left)}")
    if best.fresh:
        notes.append(f"not in the file, and as the detector was built: {first_three(best.fresh)}")
    counters = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    state = counters | {name: value for name, value in best.state.items() if name not in left}
    _check_numbers(state, own)
    return state, tuple(notes)


def misfit(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """In what a state dict differs from a detector's own: missing, unexpected and reshaped tensors,
    three of each.
    """
    fit = _Fit(own, state, ())
    shapes = [
        f"{name} {tuple(state[name].shape)} for {tuple(own[name].shape)}" for name in fit.reshaped
    ]
    parts = (("missing", fit.missing), ("unexpected", fit.unexpected), ("of another shape", shapes))
    return "; ".join(f"{what}: {first_three(names)}" for what, names in parts if names)


def fitting_detectors(stored: Stored) -> list[str]:
    """Names of the registered detectors whose tensors, as they are built by default, have a
    checkpoint's names.
    """
    found = []
    for name in detectors.names():
        try:
            with torch.device("meta"), weights_follow(), warnings.catch_warnings():
                warnings.simplefilter(
                    "ignore"
                )  # one that loads a part of itself says that nothing is copied to meta
                detector = detectors.get(name)()
            own, (state, _) = detector.state_dict(), fitted(detector, stored)
        except (
            UserError,
            RuntimeError,
            ValueError,
            OSError,
        ):  # one that cannot be built here does not fit
            continue
        alike = (
            sum(state[key].shape == own[key].shape for key in own)
            if state.keys() == own.keys()
            else 0
        )
        if alike > MIN_ALIKE * len(own):
            found.append(name)
    return found


def id_of(tensor: Tensor) -> Any:
    """What two views of the same values share; for a tensor without storage, itself."""
    return id(tensor) if tensor.is_meta or not tensor.numel() else tensor.data_ptr()


def _renamings(
    tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """The tensors under their own names, then without prefixes, then below the detector's ``net.``,
    with the steps.
    """
    plain = {name.replace(COMPILED, ""): value for name, value in tensors.items()}
    start: tuple[str, ...] = () if plain.keys() == tensors.keys() else (f"took {COMPILED!r} off",)
    level = [(start, plain)]
    put_below = any(name.startswith("net.") for name in own)
    for _ in range(MAX_STRIPPED + 1):
        following = []
        for steps, named in level:
            yield steps, named
            if put_below:
                yield (
                    (*steps, "put 'net.' before"),
                    {f"net.{name}": value for name, value in named.items()},
                )
            for prefix in PREFIXES:
                shorter = {name.removeprefix(prefix): value for name, value in named.items()}
                if shorter.keys() != named.keys() and len(shorter) == len(named):
                    following.append(((*steps, f"took {prefix!r} off"), shorter))
        level = following


def _check_numbers(state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    for name in state.keys() & own.keys():
        value = state[name]
        if value.is_quantized or (own[name].is_floating_point() and not value.is_floating_point()):
            raise CheckpointError(
                f"{name} is of {value.dtype}, not of floating-point numbers: the checkpoint is"
                " quantised or of another kind. Give the weights as they were before, in float32"
                " or float16."
            )
