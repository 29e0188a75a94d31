"""Train detectors, on clean images and against attacks."""

from robustbench_aigi.training.arrays import Arrays
from robustbench_aigi.training.config import TrainConfig
from robustbench_aigi.training.history import History
from robustbench_aigi.training.job import TrainingJob
from robustbench_aigi.training.loop import fit
from robustbench_aigi.training.methods import TrainingMethod, methods
from robustbench_aigi.training.session import TrainingFiles
from robustbench_aigi.training.trainer import Trained, train_detector

__all__ = [
    "Arrays",
    "History",
    "TrainConfig",
    "Trained",
    "TrainingFiles",
    "TrainingJob",
    "TrainingMethod",
    "fit",
    "methods",
    "train_detector",
]
