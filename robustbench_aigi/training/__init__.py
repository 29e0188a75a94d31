"""Fitting detectors, plainly and against attacks."""

from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.fit import History, Plan, fit
from robustbench_aigi.training.methods import METHODS, Recipe, train_detector

__all__ = ["METHODS", "Arrays", "History", "Plan", "Recipe", "fit", "train_detector"]
