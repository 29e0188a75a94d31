"""Fitting detectors, plainly and against attacks."""

from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.fit import fit
from robustbench_aigi.training.methods import METHODS, Files, Recipe, train_detector
from robustbench_aigi.training.plan import Plan
from robustbench_aigi.training.run import History

__all__ = ["METHODS", "Arrays", "Files", "History", "Plan", "Recipe", "fit", "train_detector"]
