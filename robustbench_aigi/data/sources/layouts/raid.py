"""RAID: clean images and attacked copies side by side."""

from typing import final

from robustbench_aigi.data.sources.layouts.base import FolderLayout, folder_layouts


@folder_layouts.add("raid")
@final
class Raid(FolderLayout):
    """``original`` and a folder per L-inf budget. Source: RAID, arXiv 2506.03988."""

    shown = "{original,epsilonN}/{class}"
    pattern = r"(?P<category>original|epsilon[\d.]+)/CLASS"
    rank = 10
    top_folders = r"original|epsilon[\d.]+"
    has_splits = False

    def parent_of(self, stem: str, class_name: str, label: int) -> str:
        """Return the path within ``original`` or the folder of a budget."""
        return stem.partition("/")[2]
