"""Fitting detectors, plainly and against attacks."""

from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.config import Plan
from robustbench_aigi.training.loop import fit
from robustbench_aigi.training.presets import METHODS, Files, Recipe, train_detector
from robustbench_aigi.training.training_run import History

__all__ = ["METHODS", "Arrays", "Files", "History", "Plan", "Recipe", "fit", "train_detector"]
