"""Datasets: where images come from, which split they are on, and how they are read."""

from robustbench_aigi.data.dataset import Batch, Dataset, describe_counts
from robustbench_aigi.data.loading import load_data
from robustbench_aigi.data.recipes import (
    DatasetRecipe,
    LabelledRecipe,
    MiniRecipe,
    PlusPlusRecipe,
    Recipe,
)

__all__ = [
    "Batch",
    "Dataset",
    "DatasetRecipe",
    "LabelledRecipe",
    "MiniRecipe",
    "PlusPlusRecipe",
    "Recipe",
    "describe_counts",
    "load_data",
]
