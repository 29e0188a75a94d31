"""Contract tests of attacks, detectors and executors, for the test suites of plug-ins.

Each function runs one component through the rules that the rest of the package relies on, and
raises :class:`ContractError` with the rule that was broken. No test framework is needed.

Example:
    >>> from robustbench_aigi.testing import check_attack
    >>> check_attack("gaussian-noise", sigma=5)
"""

from robustbench_aigi.testing.attack import check_attack, check_perturbation
from robustbench_aigi.testing.detector import check_detector, check_gradient, gradient_error
from robustbench_aigi.testing.errors import ContractError
from robustbench_aigi.testing.executor import check_executor
from robustbench_aigi.testing.probe import ProbeDetector, probe_detector, probe_images

__all__ = [
    "ContractError",
    "ProbeDetector",
    "check_attack",
    "check_detector",
    "check_executor",
    "check_gradient",
    "check_perturbation",
    "gradient_error",
    "probe_detector",
    "probe_images",
]
