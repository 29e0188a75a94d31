"""Class folders of one's own."""

from typing import final

from robustbench_aigi.data.sources.layouts.base import FolderLayout, folder_layouts


@folder_layouts.add("folder")
@final
class Folder(FolderLayout):
    """A folder per class, with splits above and generators below where they are known."""

    shown = "[{split}/]{class}[/{generator}]"
    pattern = r"(SPLIT/)?CLASS(/GENERATOR(/.*)?)?"
    rank = 50
    is_general = True
