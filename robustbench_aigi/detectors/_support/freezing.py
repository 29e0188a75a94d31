"""Detectors as an attack or a score sees them: in evaluation mode, with weights that stay."""

from collections.abc import Iterator
from contextlib import contextmanager

from robustbench_aigi.detectors.base import Detector


@contextmanager
def frozen(detector: Detector) -> Iterator[None]:
    """Put a detector into evaluation mode without parameter gradients; restore both afterwards.

    Args:
        detector: whose modules and parameters are meant.
    """
    flags = [(parameter, parameter.requires_grad) for parameter in detector.parameters()]
    modes = [(module, module.training) for module in detector.modules()]
    detector.eval().requires_grad_(False)
    try:
        yield
    finally:
        for parameter, flag in flags:
            parameter.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode
