"""Exponential moving average of weights, which a training may use instead of its last weights."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor

EARLY_DECAY = {"use_warmup": True, "warmup_gamma": 9, "warmup_power": 1}
"""Decay of ``(1 + step) / (10 + step)`` at first, so that early weights are soon forgotten."""


class EMA:
    """Moving average of a module's weights and buffers, by timm's ``ModelEmaV3``.

    Args:
        module: the module in training.
        memory: steps that the average reaches back; 0 means the weights themselves.
    """

    def __init__(self, module: torch.nn.Module, memory: int) -> None:
        from timm.utils import ModelEmaV3  # takes seconds

        self._module = module
        self._mean = ModelEmaV3(module, decay=1 - 1 / memory, **EARLY_DECAY) if memory else None

    def update(self, step: int) -> None:
        """Move the average towards the weights after training step ``step``, counted from 0."""
        if self._mean is not None:
            self._mean.update(self._module, step + 1)

    def save(self) -> dict[str, Tensor]:
        """Return the average as a state dictionary, which is empty without a memory."""
        if self._mean is None:
            return {}
        return cast("dict[str, Tensor]", self._mean.module.state_dict())

    @property
    def module(self) -> torch.nn.Module:
        """The module with the average for weights; the module itself without a memory."""
        return self._module if self._mean is None else cast("torch.nn.Module", self._mean.module)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue from what :meth:`save` returned."""
        if self._mean is not None:
            self._mean.module.load_state_dict(state)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the module the average inside a ``with`` block, and its own weights after it."""
        own = copy.deepcopy(self._module.state_dict())
        self._module.load_state_dict(self.save() or own)
        try:
            yield
        finally:
            self._module.load_state_dict(own)
