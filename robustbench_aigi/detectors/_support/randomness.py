"""Whether a detector draws random numbers when it scores, and how to make its draws repeatable."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.detectors.base import Detector

PROBE_IMAGES = 4
"""Images that are scored twice, once per detector, to see whether its scores differ."""
SAME_LOGIT = 1e-3
"""Difference of two logits, relative above 1, that is put down to floating point."""

_known: WeakKeyDictionary[Detector, bool] = WeakKeyDictionary()


def is_random(detector: Detector, images: Float[Tensor, "n 3 h w"]) -> bool:
    """Return whether a detector's scores depend on chance.

    A detector counts as random where its card says so, where two scores of one image differ, and
    where scoring advances the global random generators of torch, NumPy or Python. The answer is
    remembered, so the two passes are made once per detector.

    Args:
        detector: in evaluation mode.
        images: ``(N, 3, H, W)`` in [0, 1]; the first few are scored.
    """
    if detector.card.stochastic:
        return True
    if detector not in _known and len(images):
        _known[detector] = _differs(detector, images[:PROBE_IMAGES])
    return _known.get(detector, False)


@torch.no_grad()
def _differs(detector: Detector, images: Tensor) -> bool:
    with seeded(0):
        first = on_device(detector, images)
        before = _generator_states()
        second = on_device(detector, images)
        advanced = any(a != b for a, b in zip(before, _generator_states(), strict=True))
    return advanced or bool(((first - second).abs() > SAME_LOGIT * first.abs().clamp(min=1)).any())


def _generator_states() -> tuple[object, ...]:
    """Return the states of all global random generators, in a form that can be compared."""
    cuda: tuple[bytes, ...] = ()
    if torch.cuda.is_available():
        cuda = tuple(state.numpy().tobytes() for state in torch.cuda.get_rng_state_all())
    numpy: Any = np.random.get_state()  # noqa: NPY002
    numbers = (np.asarray(numpy[1]).tobytes(), *numpy[2:])
    return torch.get_rng_state().numpy().tobytes(), cuda, random.getstate(), numbers


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch, and restore them afterwards.

    Args:
        seed: of all generators.
    """
    python_state = random.getstate()
    numpy_state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()), device_type="cuda"):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)  # noqa: NPY002
