"""Arrangements of class folders that published datasets have, one file each."""

from robustbench_aigi.data.sources.layouts.base import (
    FolderLayout,
    candidate_layouts,
    folder_layouts,
    ordered_layouts,
)

__all__ = ["FolderLayout", "candidate_layouts", "folder_layouts", "ordered_layouts"]
