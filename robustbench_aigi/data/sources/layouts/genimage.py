"""GenImage: generators, then splits, then classes."""

from pathlib import PurePosixPath
from typing import final

from robustbench_aigi.data.sources.layouts.base import FolderLayout, folder_layouts


@folder_layouts.add("genimage")
@final
class GenImage(FolderLayout):
    """A folder per generator. Source: GenImage, NeurIPS Datasets and Benchmarks 2023."""

    shown = "{generator}/{split}/{class}"
    pattern = r"(GENERATOR/(.*/)?)?SPLIT/CLASS"
    rank = 30
    names_makers_of_reals = False

    def parent_of(self, stem: str, class_name: str, label: int) -> str:
        """Return the photograph's name, which is ImageNet's: generators may share it."""
        return "" if label else f"{class_name}/{PurePosixPath(stem).name}"
