"""ForenSynths: generators, then categories, then classes."""

from collections.abc import Sequence
from typing import final

from robustbench_aigi.data.sources.layouts.base import FolderLayout, folder_layouts


@folder_layouts.add("forensynths")
@final
class ForenSynths(FolderLayout):
    """A folder per generator and category. Source: Wang et al., CVPR 2020."""

    shown = "[{split}/][{generator}/[{category}/]]{class}"
    pattern = r"(SPLIT/)?(GENERATOR/(CATEGORY/)?)?CLASS"
    rank = 40
    names_makers_of_reals = False

    def yields_to_general(self, folders: Sequence[str]) -> bool:
        """Always yield: nothing but the recipe tells this layout from one's own folders."""
        return True
