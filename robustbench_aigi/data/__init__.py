"""Datasets: where images come from, which split they are on, and how they are read."""

from robustbench_aigi.data.dataset import Batch, Dataset, counts
from robustbench_aigi.data.loading import load_data
from robustbench_aigi.data.recipes import Recipe

__all__ = ["Batch", "Dataset", "Recipe", "counts", "load_data"]
