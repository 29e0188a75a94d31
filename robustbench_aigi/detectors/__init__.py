"""Detectors: images in [0, 1] in, one logit per image out; high means AI-generated."""

from robustbench_aigi.detectors._support.checkpoints.loading import load_detector
from robustbench_aigi.detectors._support.checkpoints.saving import save_detector
from robustbench_aigi.detectors._support.checkpoints.shipped import shipped, shipped_names
from robustbench_aigi.detectors.base import Card, Detector, detectors, straight_through
from robustbench_aigi.detectors.external.wrapped import Wrapped, wrap
from robustbench_aigi.detectors.loading import load_trained

__all__ = [
    "Card",
    "Detector",
    "Wrapped",
    "detectors",
    "load_detector",
    "load_trained",
    "save_detector",
    "shipped",
    "shipped_names",
    "straight_through",
    "wrap",
]
