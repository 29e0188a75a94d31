"""The moving average of weights that a training may keep in the place of its last ones."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from timm.utils import ModelEmaV3
from torch import Tensor


class EMA:
    """A moving average of a module's weights and buffers, timm's; with a ``memory`` of 0 the
    weights themselves.
    """

    def __init__(self, module: torch.nn.Module, memory: int) -> None:
        self._module = module
        early = {
            "use_warmup": True,
            "warmup_gamma": 9,
            "warmup_power": 1,
        }  # early on it forgets sooner
        self._mean = ModelEmaV3(module, decay=1 - 1 / memory, **early) if memory else None

    def update(self, step: int) -> None:
        """Move the average towards the weights after training step ``step``, counted from 0."""
        if self._mean is not None:
            self._mean.update(self._module, step + 1)

    @property
    def state(self) -> dict[str, Tensor]:
        """The average, or nothing."""
        return (
            {} if self._mean is None else cast("dict[str, Tensor]", self._mean.module.state_dict())
        )

    def take_up(self, state: dict[str, Tensor]) -> None:
        """Go on from an earlier :attr:`state`."""
        if self._mean is not None:
            self._mean.module.load_state_dict(state)

    @contextmanager
    def worn(self) -> Iterator[None]:
        """Inside, the module has the average."""
        own = copy.deepcopy(self._module.state_dict())
        self._module.load_state_dict(self.state or own)
        try:
            yield
        finally:
            self._module.load_state_dict(own)
