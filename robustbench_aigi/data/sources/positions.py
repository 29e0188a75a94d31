"""Where the folders of splits are, and what else is beside them."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from robustbench_aigi.data.sources.layouts import ordered_layouts
from robustbench_aigi.data.sources.splits import check_one_name_each, likely_split
from robustbench_aigi.data.sources.terms import Terms, recipe_line
from robustbench_aigi.errors import DataError

MAX_LISTED = 6
"""Names in a message; of more, their number is given."""
Parts = tuple[str, ...]


def list_few(names: Sequence[str]) -> str:
    """Return names for a message, at most :data:`MAX_LISTED` of them written out.

    Example:
        >>> list_few(["a", "b"])
        'a, b'
    """
    more = len(names) - MAX_LISTED
    shown = ", ".join(names[:MAX_LISTED])
    return f"{shown} and {more} more" if more > 0 else shown


def check_splits(root: Path, folders: Iterable[str], terms: Terms) -> None:
    """Check that class folders beside the folders of splits are in a split of a known name.

    Args:
        root: the source.
        folders: paths below the root of the folders that hold images.
        terms: the recipe's words.

    Raises:
        DataError: there is another folder, or one named like a split (``train_images``) where no
            split is known.
    """
    layout = ordered_layouts().get(terms.layout or "")
    if layout is not None and not layout.has_splits:
        return
    found = {_above_class(name, terms) for name in folders}
    above_classes = {parts for parts in found if parts is not None}
    places = _split_places(above_classes, terms)
    unknown = _unknown_beside(above_classes, places, terms)
    for place, names in places.items():
        if place in unknown:
            raise _unknown_splits(
                root.joinpath(*place), sorted(names), sorted(unknown[place]), terms
            )
        check_one_name_each(terms.splits, names, root.joinpath(*place))
    if not places:
        _check_likely_splits(root, above_classes, terms)


def _split_places(above_classes: Iterable[Parts], terms: Terms) -> dict[Parts, set[str]]:
    """Return the folders that hold folders of splits, with the names of those."""
    places: dict[Parts, set[str]] = {}
    for parts in above_classes:
        depth = _split_depth(parts, terms)
        if depth is not None:
            places.setdefault(parts[:depth], set()).add(parts[depth])
    return places


def _unknown_beside(
    above_classes: Iterable[Parts], places: Iterable[Parts], terms: Terms
) -> dict[Parts, set[str]]:
    """Return the folders beside those of splits that are neither splits nor generators."""
    known_places = set(places)
    unknown: dict[Parts, set[str]] = {}
    for parts in above_classes:
        if _split_depth(parts, terms) is not None:
            continue
        for depth, part in enumerate(parts):
            if parts[:depth] in known_places and not _is_known(part, terms):
                unknown.setdefault(parts[:depth], set()).add(part)
    return unknown


def _split_depth(parts: Parts, terms: Terms) -> int | None:
    """Return which of the folders is the first that is a split; None if none is."""
    return next((depth for depth, part in enumerate(parts) if terms.split(part)), None)


def _above_class(folder: str, terms: Terms) -> Parts | None:
    """Return the folders above the first one that is a class; None if none is."""
    parts = tuple(folder.split("/"))
    depth = next((depth for depth, part in enumerate(parts) if terms.label(part) is not None), None)
    return None if depth is None else parts[:depth]


def _is_known(name: str, terms: Terms) -> bool:
    return terms.split(name) is not None or name.lower() in terms.generators


def _check_likely_splits(root: Path, above_classes: Iterable[Parts], terms: Terms) -> None:
    """Raise ``DataError`` for folders such as ``train_images``, which would be test images."""
    found = {part: likely_split(terms.splits, part) for parts in above_classes for part in parts}
    meant = {name: split for name, split in found.items() if split and not _is_known(name, terms)}
    if set(meant.values()) - {"test"}:
        raise _unknown_splits(root, [], sorted(meant), terms)


def _unknown_splits(place: Path, splits: list[str], unknown: list[str], terms: Terms) -> DataError:
    beside = f"the splits {', '.join(splits)} and beside them " if splits else ""
    generators = ", ".join(f'"{name}" = "{name}"' for name in unknown)
    return DataError(
        f"{place} has {beside}the folders {', '.join(unknown)}, which hold classes and are no split"
        f" that the recipe knows. {recipe_line(terms, unknown)} If they are generators, write there"
        f" generators = {{ {generators} }}."
    )
