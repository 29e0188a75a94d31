"""Fitting detectors, plainly and against attacks."""

from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.loop import fit
from robustbench_aigi.training.presets import METHODS, Files, TrainingJob, train_detector
from robustbench_aigi.training.training_run import History

__all__ = [
    "METHODS",
    "Arrays",
    "Files",
    "History",
    "TrainConfig",
    "TrainingJob",
    "fit",
    "train_detector",
]
