"""Whether a detector draws random numbers when it scores, found by looking, and how to make its
draws repeatable.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from robustbench_aigi.detectors._support.placement import on_device
from robustbench_aigi.detectors.base import Detector

PROBE_IMAGES = 4
"""Images scored twice, once in the life of a detector, to see whether its scores move."""
SAME_LOGIT = 1e-3
"""Difference of two logits, relative above 1, that is put down to floating point."""

_known: WeakKeyDictionary[Detector, bool] = WeakKeyDictionary()


def is_random(detector: Detector, images: Tensor) -> bool:
    """Whether a detector's scores depend on chance: as its card says, or as two passes over a few
    images show.

    A detector counts as random where two scores of one image differ, and where scoring advances the
    global random generators of torch, NumPy or Python. The answer is remembered, so the two passes
    are made once per detector.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1]; the first few are scored. The detector must be in
            evaluation mode.
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
        before = _states()
        second = on_device(detector, images)
        advanced = any(a != b for a, b in zip(before, _states(), strict=True))
    return advanced or bool(((first - second).abs() > SAME_LOGIT * first.abs().clamp(min=1)).any())


def _states() -> tuple[object, ...]:
    cuda = (
        [state.numpy().tobytes() for state in torch.cuda.get_rng_state_all()]
        if torch.cuda.is_available()
        else []
    )
    numpy: Any = np.random.get_state()  # noqa: NPY002
    numbers = (np.asarray(numpy[1]).tobytes(), *numpy[2:])
    return torch.get_rng_state().numpy().tobytes(), tuple(cuda), random.getstate(), numbers


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the global generators of Python, NumPy and torch, and put them back as they were."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()), device_type="cuda"):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
