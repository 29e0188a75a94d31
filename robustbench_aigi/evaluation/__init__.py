"""Detectors times attacks times data: per-image tables, and the matrix they add up to."""

from robustbench_aigi.evaluation.evaluate import evaluate
from robustbench_aigi.evaluation.metrics import summarise

__all__ = ["evaluate", "summarise"]
