"""The contract of a layout of class folders, and the registry of all of them."""

import re
from abc import ABC
from collections.abc import Sequence
from typing import ClassVar, final

from robustbench_aigi.data.sources.terms import Terms, pattern_of
from robustbench_aigi.registry import Registry


class FolderLayout(ABC):
    """An arrangement of class folders. Register a subclass with :data:`folder_layouts`.

    Attributes:
        shown: how messages show it, such as ``{split}/{class}``.
        pattern: regular expression of a folder's path. The words SPLIT, CLASS, GENERATOR and
            CATEGORY stand for the recipe's names of splits and classes, and for any one folder.
        rank: of layouts that fit equally many folders the one of the lowest rank is chosen.
        top_folders: regular expression of top folders that belong to the layout; None if it has
            none of its own.
        has_splits: whether one of the folders may be a split.
        is_general: whether it is the one that specific layouts may yield to.
        names_makers_of_reals: whether a generator's folder is also the generator of the real
            images in it, not only what they are compared with.
    """

    shown: ClassVar[str]
    pattern: ClassVar[str]
    rank: ClassVar[int] = 100
    top_folders: ClassVar[str | None] = None
    has_splits: ClassVar[bool] = True
    is_general: ClassVar[bool] = False
    names_makers_of_reals: ClassVar[bool] = True

    @property
    @final
    def name(self) -> str:
        """The name that it is registered under."""
        return folder_layouts.name_of(type(self))

    @final
    def compile(self, terms: Terms) -> re.Pattern[str]:
        """Return the pattern with a recipe's names in it.

        Its groups are ``split``, ``cls``, ``generator`` and ``category``.

        Args:
            terms: the recipe's words.
        """
        classes = "|".join(map(pattern_of, terms.labels))
        splits = "|".join(map(re.escape, terms.split_names))
        text = self.pattern.replace("SPLIT", f"(?P<split>{splits})")
        text = text.replace("CLASS", f"(?P<cls>{classes})")
        for word in ("generator", "category"):
            text = text.replace(word.upper(), f"(?P<{word}>[^/]+)")
        return re.compile(text, re.IGNORECASE)

    def yields_to_general(self, folders: Sequence[str]) -> bool:
        """Return whether a general layout that fits as many folders is the better reading.

        Args:
            folders: paths that this layout fits.
        """
        return False

    def parent_of(self, stem: str, class_name: str, label: int) -> str:
        """Return what an image was made from; empty for an original.

        Args:
            stem: path of the image below the top folders, without the ending.
            class_name: of its folder.
            label: 1 is AI-generated.
        """
        return ""


folder_layouts: Registry[FolderLayout] = Registry("layout", __package__)


def ordered_layouts() -> dict[str, FolderLayout]:
    """Return all layouts by name, in the order in which they are tried."""
    layouts = {name: folder_layouts.get(name)() for name in folder_layouts.names()}
    return dict(sorted(layouts.items(), key=lambda item: item[1].rank))


def candidate_layouts(terms: Terms) -> dict[str, FolderLayout]:
    """Return the recipe's layout of class folders; all of them if it names none.

    Args:
        terms: the recipe's words.
    """
    layouts = ordered_layouts()
    if terms.layout in layouts:
        return {terms.layout: layouts[terms.layout]}
    return layouts
