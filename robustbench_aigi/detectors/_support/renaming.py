"""Rename the tensors of a public checkpoint."""

from collections.abc import Mapping


def replace_prefix(name: str, prefixes: Mapping[str, str]) -> str:
    """Replace the first matching prefix of a tensor's name.

    Args:
        name: the name.
        prefixes: their prefixes, each with ours.

    Example:
        >>> replace_prefix("ca1.fc.0.weight", {"ca1.fc.": "gates.0."})
        'gates.0.0.weight'
    """
    for theirs, ours in prefixes.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name
