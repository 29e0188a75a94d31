"""Attacks and model-free perturbations: images on the 8-bit grid in, images on the grid and inside
the budget out.
"""

from robustbench_aigi.attacks.base import Attack, Budget, Perturbation, Result, attacks
from robustbench_aigi.attacks.loading import load_attack
from robustbench_aigi.attacks.suites import Suite, SuiteRow, load_suite

__all__ = [
    "Attack",
    "Budget",
    "Perturbation",
    "Result",
    "Suite",
    "SuiteRow",
    "attacks",
    "load_attack",
    "load_suite",
]
