"""Splits, then classes."""

from collections.abc import Sequence
from typing import final

from robustbench_aigi.data.sources.layouts.base import FolderLayout, folder_layouts


@folder_layouts.add("classes")
@final
class Classes(FolderLayout):
    """A folder per split, and in it one per class. Source: CIFAKE, IEEE Access 2024."""

    shown = "{split}/{class}"
    pattern = r"SPLIT/CLASS(/.*)?"
    rank = 20

    def yields_to_general(self, folders: Sequence[str]) -> bool:
        """Yield to a general layout if there are folders below the classes: generators."""
        return any(folder.count("/") > 1 for folder in folders)
