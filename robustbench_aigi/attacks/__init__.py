"""Attacks and perturbations: images on the 8-bit grid in, images on the grid and in budget out."""

from robustbench_aigi.attacks.base import Attack, Budget, attacks
from robustbench_aigi.attacks.loading import load_attack
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.attacks.result import Result
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
