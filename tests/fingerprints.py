"""Small networks whose fingerprints are compared."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from robustbench_aigi.detectors import Detector, wrap
from robustbench_aigi.detectors._support.fingerprint import (
    fingerprint,
)


def flat(seed: int = 0, outputs: int = 1) -> nn.Module:
    """A linear network on 8 x 8 pixels."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, outputs))


def wrapped(net: nn.Module | None = None, **numbers: Any) -> Detector:
    return wrap(flat() if net is None else net, **({"input_size": 8} | numbers))


def of(net: nn.Module | None = None, **numbers: Any) -> str:
    """The digest of a wrapped network that can be fingerprinted as a whole."""
    found = fingerprint(wrapped(net, **numbers))
    assert found.unknown == ()
    return found.digest


class Prepared(nn.Module):
    """A network behind a step of its user's."""

    def __init__(self, step: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.step = step
        self.net = flat()

    def forward(self, images: Tensor) -> Tensor:
        outputs: Tensor = self.net(self.step(images))
        return outputs


def times(factor: Any) -> Callable[[Tensor], Tensor]:
    return lambda images: images * factor
