"""Building a detector from its address and arguments, without loading a checkpoint."""

from typing import Any

from robustbench_aigi.detectors._support.addresses.address import construct
from robustbench_aigi.detectors.base import Detector, detectors
from robustbench_aigi.detectors.external import load_external
from robustbench_aigi.detectors.external.python_object import adapt_object


def build(name: str, config: dict[str, Any]) -> Detector:
    """Build a detector.

    Args:
        name: a registered name, ``module:NAME``, or an address of an external detector.
        config: its arguments.

    Raises:
        UnknownNameError: there is no such detector.
        ConfigError: it does not take these arguments.
    """
    external = load_external(name, **config)
    if external is not None:
        return external
    found = detectors.get(name)
    return adapt_object(name, found, config) if ":" in name else construct(found, name, config)
