"""A small finished run, also of detectors that say the same of every image."""

from pathlib import Path

import torch

from robustbench_aigi.attacks import Suite
from robustbench_aigi.data import load_data
from robustbench_aigi.detectors import Detector, load_detector
from robustbench_aigi.pipeline.evaluate import evaluate

SUITE = Suite.model_validate(
    {
        "name": "small",
        "version": 1,
        "seed": 0,
        "attacks": [
            {
                "id": "pgd-2",
                "attack": "pgd-linf",
                "with": {"eps": 2, "step": 1, "steps": 4},
                "surrogate": "good",
            },
            {"id": "jpeg-50", "attack": "jpeg", "with": {"quality": 50}},
        ],
    }
)


def detector(name: str, threshold: float = 0.0) -> Detector:
    """The shipped CNN; at a huge threshold it calls everything real, at a huge negative one
    AI-generated.
    """
    made = load_detector("cifake-cnn", "cifake").eval()
    made.describe(name=name, threshold=threshold)
    return made


def finished(folder: Path, recipe: str, *detectors: Detector | str) -> Path:
    """The folder of a run of these detectors."""
    torch.manual_seed(0)
    evaluate(list(detectors), SUITE, load_data(recipe, split="test"), folder)
    return folder
