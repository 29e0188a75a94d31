"""Paths into a JSON answer, such as ``output.0.classes[class=ai_generated].value``."""

import re
from typing import Any, NamedTuple

from robustbench_aigi.errors import LogitsError, UserError

PART_PATTERN = re.compile(r"(?:^|\.)([^.\[\]=]+)|\[(\d+)\]|\[([^\[\]=]+)=([^\[\]]+)\]")
LABEL_KEYS = ("label", "class")
"""Keys under which an entry of a list says which class its score is of."""
OTHER_LABEL_KEYS = ("prediction", "verdict", "category", "name", "tag")
"""Keys that may say that, too; a list of one entry may be of files, with their names."""
MAX_SHOWN = 8
"""Labels and keys that a message shows."""
MAX_SHOWN_CHARACTERS = 40
"""Characters of each that a message shows."""


class PathPart(NamedTuple):
    """A step of a path: a key or an index, or a choice of entries of a list.

    Attributes:
        key: the key or the index; of a choice the key that says which class an entry is of.
        labels: the classes that are chosen; empty for a key or an index.
    """

    key: str
    labels: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"[{self.key}={'|'.join(self.labels)}]" if self.labels else self.key


def parse_path(path: str) -> list[PathPart]:
    """Split a path into its parts.

    Args:
        path: such as ``output.0.classes[class=ai_generated].value``.

    Raises:
        UserError: it cannot be read, or chooses by name twice.

    Example:
        >>> parse_path("scores.0")
        [PathPart(key='scores', labels=()), PathPart(key='0', labels=())]
    """
    parts = []
    end = 0
    for match in PART_PATTERN.finditer(path):
        if match.start() != end:
            break
        end = match.end()
        labels = tuple(match[4].split("|")) if match[4] else ()
        parts.append(PathPart(match[3] or match[1] or match[2], labels))
    is_read = bool(parts) and end == len(path) and not path.startswith(".")
    choices = [part for part in parts if part.labels]
    if not is_read or len(choices) > 1:
        raise UserError(
            f"{path!r} is no path of a number in an answer. Write one such as 'result.score',"
            " 'scores.0' or 'classes[class=ai_generated].value'."
        )
    return parts


def values_at(answer: Any, path: str, who: str) -> list[Any]:
    """Return what a JSON value has at a path: one value, or one for each label that it names.

    Args:
        answer: a JSON value.
        path: see :func:`parse_path`.
        who: the detector's name, for messages.

    Raises:
        LogitsError: a part or a label is missing; or an index chooses from a list of labels, whose
            order may be that of the scores.

    Example:
        >>> values_at({"scores": [0.2, 0.8]}, "scores.1", "mine")
        [0.8]
    """
    found = [answer]
    for part in parse_path(path):
        found = [value for item in found for value in _step(item, part, path, who)]
    return found


def label_beside(answer: Any, path: str) -> str | None:
    """Return the label in the same entry as the number at a path; None if there is none.

    Args:
        answer: a JSON value.
        path: of the number.

    Example:
        >>> label_beside({"label": "fake", "score": 0.8}, "score")
        'fake'
    """
    entry = answer
    for part in parse_path(path)[:-1]:
        entry, *more = _step(entry, part, path, "")
        if part.labels or more:
            return None
    if not isinstance(entry, dict):
        return None
    found = (entry.get(key) for key in LABEL_KEYS + OTHER_LABEL_KEYS)
    return next((label for label in found if isinstance(label, str)), None)


def _step(item: Any, part: PathPart, path: str, who: str) -> list[Any]:
    """Return the values that one part of a path leads to."""
    if part.labels:
        return _chosen(item, part, path, who)
    if isinstance(item, dict) and part.key in item:
        return [item[part.key]]
    if isinstance(item, list) and part.key.isdecimal() and int(part.key) < len(item):
        _check_unlabelled(item, part.key, path, who)
        return [item[int(part.key)]]
    there = f", only {_shown(list(item))}" if isinstance(item, dict) else ""
    raise LogitsError(
        f"the answer of {who} has no {part.key!r} of {path!r}{there}. Write the path of the number:"
        " score='a.0.b'."
    )


def _chosen(item: Any, part: PathPart, path: str, who: str) -> list[Any]:
    """Return the entries of a list that have the labels of a part."""
    entries = item if isinstance(item, list) else []
    known = {
        str(entry[part.key]): entry
        for entry in entries
        if isinstance(entry, dict) and part.key in entry
    }
    missing = [label for label in part.labels if label not in known]
    if missing:
        raise LogitsError(
            f"the answer of {who} has no {part.key} {' or '.join(map(repr, missing))} at"
            f" {str(part)!r} of {path!r}; it has"
            f" {_shown(list(known)) or 'no list of such entries'}. Write one of these."
        )
    if len(known) < len(entries):
        raise LogitsError(
            f"in the answer of {who} several entries, or some without one, share a {part.key} at"
            f" {str(part)!r} of {path!r}. Write a path that chooses one: score='a.0.b'."
        )
    return [known[label] for label in part.labels]


def _check_unlabelled(items: list[Any], index: str, path: str, who: str) -> None:
    """Raise ``LogitsError`` for an index into labelled scores.

    Where scores are sorted, it is the top label's score, whichever label that is.
    """
    for key in LABEL_KEYS if len(items) == 1 else LABEL_KEYS + OTHER_LABEL_KEYS:
        if all(isinstance(entry, dict) and isinstance(entry.get(key), str) for entry in items):
            rest = path.partition(f"{index}.")[2]
            labels = _shown([entry[key] for entry in items])
            raise LogitsError(
                f"{path!r} is the score of whichever {key} is number {index} in the answer of"
                f" {who}, and services sort by score: it would change its meaning from image to"
                f" image. Write the {key} that means AI-generated, as in"
                f" '[{key}=NAME]{'.' if rest else ''}{rest}'; the answer has {labels}."
            )


def _shown(names: list[str]) -> str:
    texts = [str(name)[:MAX_SHOWN_CHARACTERS] for name in names]
    return ", ".join(texts[:MAX_SHOWN]) + (", ..." if len(texts) > MAX_SHOWN else "")
