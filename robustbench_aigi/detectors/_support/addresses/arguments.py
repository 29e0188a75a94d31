"""Arguments that were written as text, made the values that a constructor's annotations ask for."""

import json
import math
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import quote, unquote

from robustbench_aigi.errors import ConfigError

TRUE, FALSE, NONE = ("true", "yes", "on", "1"), ("false", "no", "off", "0"), ("none", "null", "")
LISTS = (list, tuple, set, frozenset, Sequence, Collection, Iterable)
ORDER = (bool, int, float, Path)
"""Members of a union, the narrowest first; a text fits ``str`` always, which is tried last."""


class Written(str):
    """A value as it stands in an address: percent-encoded, of no type yet."""

    __slots__ = ()

    @classmethod
    def of(cls, value: Any) -> "Written":
        """A value of JSON or TOML, as it would be written."""
        return cls(quote(value if isinstance(value, str) else json.dumps(value), safe=""))


def typed(value: Any, hint: Any, who: str) -> Any:
    """The value that a written one stands for; any other as it is.

    Args:
        hint: the annotation. who: detector and argument, for messages.

    Raises:
        ConfigError: it stands for no such value.
    """
    if not isinstance(value, Written):
        return value
    try:
        return _typed(value, hint)
    except (ValueError, TypeError) as error:
        key = who.rpartition(" ")[2]
        raise ConfigError(
            f"{who} must be {_words(hint)}, got {unquote(value)!r}. Write {key}={_example(hint)}."
        ) from error


def _typed(text: str, hint: Any) -> Any:
    """Raises ``ValueError`` or ``TypeError`` where the text does not fit."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _typed(text, inner[0])
    if origin in (Union, types.UnionType):
        return _first(text, inner)
    if origin is Literal:
        return _one_of(unquote(text), inner)
    if (origin or hint) in LISTS:
        return _list(text, origin or hint, inner)
    if (origin or hint) in (dict, Mapping):
        return _object(text)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint[unquote(text)] if unquote(text) in hint.__members__ else hint(unquote(text))
    return SIMPLE.get(hint, _anything)(unquote(text))


def _first(text: str, hints: Sequence[Any]) -> Any:
    """What fits first: none, then the narrow kinds, lists where there is a comma, then text."""
    if types.NoneType in hints and unquote(text).lower() in NONE:
        return None

    def rank(hint: Any) -> int:
        if (get_origin(hint) or hint) in LISTS:
            return 0 if "," in text or unquote(text).startswith("[") else len(ORDER) + 2
        return ORDER.index(hint) + 1 if hint in ORDER else len(ORDER) + 1 if hint is str else 0

    for hint in sorted((hint for hint in hints if hint is not types.NoneType), key=rank):
        try:
            return _typed(text, hint)
        except (ValueError, TypeError):
            continue
    raise ValueError(text)


def _one_of(text: str, options: Sequence[Any]) -> Any:
    found = [option for option in options if str(option) == text]
    if not found:
        raise ValueError(text)
    return found[0]


def _list(text: str, kind: Any, inner: Sequence[Any]) -> Any:
    """Commas part the members; one that is percent-encoded belongs to a member."""
    parts = (
        [*map(Written.of, json.loads(unquote(text)))]
        if unquote(text).startswith("[")
        else text.split(",")
    )
    parts = [] if parts == [""] else parts
    fixed = kind is tuple and inner and inner[-1] is not Ellipsis
    if fixed and len(parts) != len(inner):
        raise ValueError(text)
    hints = inner if fixed else [inner[0] if inner else Any] * len(parts)
    values = [_typed(part, hint) for part, hint in zip(parts, hints, strict=True)]
    return kind(values) if kind in (tuple, set, frozenset) else values


def _object(text: str) -> dict[str, Any]:
    found = json.loads(unquote(text))
    if not isinstance(found, dict):
        raise TypeError(text)
    return found


def _truth(text: str) -> bool:
    if text.lower() not in TRUE + FALSE:
        raise ValueError(text)
    return text.lower() in TRUE


def _number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _anything(text: str) -> Any:
    """Where nothing is annotated: JSON if it is some, else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return str(text)


SIMPLE: Mapping[Any, Callable[[str], Any]] = {
    bool: _truth,
    int: int,
    float: _number,
    str: str,
    Path: Path,
}
WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}
EXAMPLES = {bool: "true", int: "1", float: "0.5", str: "text", Path: "path"}


def _words(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join("none" if one is types.NoneType else _words(one) for one in inner)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if (origin or hint) in LISTS:
        return (
            f"values with commas between them ({_words(inner[0])} each)"
            if inner
            else "values with commas between"
        )
    return WORDS.get(
        hint,
        (
            "a JSON object"
            if (origin or hint) in (dict, Mapping)
            else str(getattr(hint, "__name__", hint))
        ),
    )


def _example(hint: Any) -> str:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _example(next((one for one in inner if one is not types.NoneType), str))
    if origin is Literal:
        return str(inner[0])
    if (origin or hint) in LISTS:
        return ",".join([_example(inner[0]) if inner else "0.5"] * 3)
    return EXAMPLES.get(hint, "'{\"key\": 1}'")
