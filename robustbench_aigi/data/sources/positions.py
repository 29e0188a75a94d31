"""Where the folders of splits stand, and what else stands there."""

from collections.abc import Iterable
from pathlib import Path

from robustbench_aigi.data.sources.entry import Terms, recipe_line
from robustbench_aigi.data.sources.splits import one_name_each, suspects
from robustbench_aigi.errors import DataError

Parts = tuple[str, ...]


def check_splits(root: Path, folders: Iterable[str], terms: Terms) -> None:
    """Check that what stands beside the folders of splits, and holds class folders too, is a split
    of a known name.

    Args:
        folders: paths below the root of the folders that hold images.

    Raises:
        DataError: there is another folder, or one called like a split (``train_images``) where no
            split is known.
    """
    if terms.layout == "raid":
        return
    above_classes = {
        parts for parts in (_above_class(name, terms) for name in folders) if parts is not None
    }
    places: dict[Parts, set[str]] = {}
    for parts in above_classes:
        for depth, part in enumerate(parts):
            if terms.split(part):
                places.setdefault(parts[:depth], set()).add(part)
                break
    unknown: dict[Parts, set[str]] = {}
    for parts in above_classes:
        free = next((d for d, part in enumerate(parts) if terms.split(part)), len(parts))
        for depth in range(free):
            if (
                free == len(parts)
                and parts[:depth] in places
                and not _is_known(parts[depth], terms)
            ):
                unknown.setdefault(parts[:depth], set()).add(parts[depth])
    for place, names in places.items():
        if place in unknown:
            raise _refusal(root.joinpath(*place), sorted(names), sorted(unknown[place]), terms)
        one_name_each(terms.splits, names, root.joinpath(*place))
    if not places:
        _check_suspects(root, above_classes, terms)


def _above_class(folder: str, terms: Terms) -> Parts | None:
    """The folders above the first one that is a class; None if there is none."""
    parts = tuple(folder.split("/"))
    found = next((depth for depth, part in enumerate(parts) if terms.label(part) is not None), None)
    return None if found is None else parts[:found]


def _is_known(name: str, terms: Terms) -> bool:
    return terms.split(name) is not None or name.lower() in terms.generators


def _check_suspects(root: Path, above_classes: Iterable[Parts], terms: Terms) -> None:
    """Without a known split all would be tested: not where a name such as ``train_images`` says
    otherwise.
    """
    found = {part: suspects(terms.splits, part) for parts in above_classes for part in parts}
    meant = {name: split for name, split in found.items() if split and not _is_known(name, terms)}
    if set(meant.values()) - {"test"}:
        raise _refusal(root, [], sorted(meant), terms)


def _refusal(place: Path, splits: list[str], unknown: list[str], terms: Terms) -> DataError:
    beside = f"the splits {', '.join(splits)} and beside them " if splits else ""
    generators = ", ".join(f'"{name}" = "{name}"' for name in unknown)
    return DataError(
        f"{place} has {beside}the folders {', '.join(unknown)}, which hold classes and are no split"
        f" that the recipe knows. {recipe_line(terms, unknown)} If they are generators, write there"
        f" generators = {{ {generators} }}."
    )
