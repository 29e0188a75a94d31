"""Arguments typed as text, decoded to the values that a constructor's annotations ask for."""

import json
import math
import types
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import quote, unquote

from robustbench_aigi.errors import ConfigError

TRUE_WORDS = ("true", "yes", "on", "1")
FALSE_WORDS = ("false", "no", "off", "0")
NONE_WORDS = ("none", "null", "")
LIST_TYPES = (list, tuple, set, frozenset, Sequence, Collection, Iterable)
SCALAR_TYPES = (bool, int, float, Path)
"""Scalar members of a union, the narrowest first; ``str`` takes any text, and is tried last."""


class EncodedValue(str):
    """A value as it stands in an address: percent-encoded, of no type yet."""

    __slots__ = ()

    @classmethod
    def of(cls, value: Any) -> "EncodedValue":
        """Encode a value of JSON or TOML as it would be typed.

        Args:
            value: a string, number, boolean, list or mapping.

        Example:
            >>> EncodedValue.of([0.5, 1])
            '%5B0.5%2C%201%5D'
        """
        return cls(quote(value if isinstance(value, str) else json.dumps(value), safe=""))


def decode(value: Any, hint: Any, who: str) -> Any:
    """Decode an :class:`EncodedValue` as an annotation says; return any other value unchanged.

    Args:
        value: what was typed, or a value given in Python.
        hint: the annotation, such as ``int | None``.
        who: detector and argument, for messages.

    Raises:
        ConfigError: the text does not fit the annotation.

    Example:
        >>> decode(EncodedValue("0.5,0.25"), tuple[float, ...], "tinyvit-5m: mean")
        (0.5, 0.25)
    """
    if not isinstance(value, EncodedValue):
        return value
    try:
        return _decoded(value, hint)
    except (ValueError, TypeError) as error:
        key = who.rpartition(" ")[2]
        raise ConfigError(
            f"{who} must be {_describe(hint)}, got {unquote(value)!r}. Write"
            f" {key}={_example(hint)}."
        ) from error


def _decoded(text: str, hint: Any) -> Any:
    """Decode a text. Raises ``ValueError`` or ``TypeError`` where it does not fit."""
    origin = get_origin(hint)
    inner = get_args(hint)
    kind = origin or hint
    if origin is Annotated:
        return _decoded(text, inner[0])
    if origin in (Union, types.UnionType):
        return _first_fitting(text, inner)
    if origin is Literal:
        return _option(unquote(text), inner)
    if kind in LIST_TYPES:
        return _list(text, kind, inner)
    if kind in (dict, Mapping):
        return _object(text)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint[unquote(text)] if unquote(text) in hint.__members__ else hint(unquote(text))
    return SCALAR_DECODERS.get(hint, _json_or_text)(unquote(text))


def _first_fitting(text: str, hints: Sequence[Any]) -> Any:
    """Decode as the first member of a union that fits: None, narrow types, lists, then text."""
    if types.NoneType in hints and unquote(text).lower() in NONE_WORDS:
        return None
    members = [hint for hint in hints if hint is not types.NoneType]
    for hint in sorted(members, key=lambda member: _rank(member, text)):
        try:
            return _decoded(text, hint)
        except (ValueError, TypeError):
            continue
    raise ValueError(text)


def _rank(hint: Any, text: str) -> int:
    """Return the place of a union's member in the order of trials, the first being 0."""
    last = len(SCALAR_TYPES) + 1
    if (get_origin(hint) or hint) in LIST_TYPES:
        return 0 if "," in text or unquote(text).startswith("[") else last + 1
    if hint in SCALAR_TYPES:
        return SCALAR_TYPES.index(hint) + 1
    return last if hint is str else 0


def _option(text: str, options: Sequence[Any]) -> Any:
    found = [option for option in options if str(option) == text]
    if not found:
        raise ValueError(text)
    return found[0]


def _list(text: str, kind: Any, inner: Sequence[Any]) -> Any:
    """Decode a list whose members stand between commas; an encoded comma belongs to a member."""
    parts = _list_parts(text)
    is_fixed = kind is tuple and bool(inner) and inner[-1] is not Ellipsis
    if is_fixed and len(parts) != len(inner):
        raise ValueError(text)
    member = inner[0] if inner else Any
    hints = inner if is_fixed else [member] * len(parts)
    values = [_decoded(part, hint) for part, hint in zip(parts, hints, strict=True)]
    return kind(values) if kind in (tuple, set, frozenset) else values


def _list_parts(text: str) -> Sequence[str]:
    if unquote(text).startswith("["):
        return [EncodedValue.of(member) for member in json.loads(unquote(text))]
    return text.split(",") if text else []


def _object(text: str) -> dict[str, Any]:
    found = json.loads(unquote(text))
    if not isinstance(found, dict):
        raise TypeError(text)
    return found


def _boolean(text: str) -> bool:
    if text.lower() not in TRUE_WORDS + FALSE_WORDS:
        raise ValueError(text)
    return text.lower() in TRUE_WORDS


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _json_or_text(text: str) -> Any:
    """Decode what has no annotation: JSON if it is valid JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return str(text)


SCALAR_DECODERS: Mapping[Any, Callable[[str], Any]] = {
    bool: _boolean,
    int: int,
    float: _finite,
    str: str,
    Path: Path,
}
SCALAR_NOUNS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
}
SCALAR_EXAMPLES = {bool: "true", int: "1", float: "0.5", str: "text", Path: "path"}


def _describe(hint: Any) -> str:
    """Return an annotation in words, for messages."""
    origin = get_origin(hint)
    inner = get_args(hint)
    kind = origin or hint
    if origin in (Union, types.UnionType):
        return " or ".join("none" if one is types.NoneType else _describe(one) for one in inner)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if kind in LIST_TYPES:
        member = f" them ({_describe(inner[0])} each)" if inner else ""
        return f"values with commas between{member}"
    if hint in SCALAR_NOUNS:
        return SCALAR_NOUNS[hint]
    if kind in (dict, Mapping):
        return "a JSON object"
    return str(getattr(hint, "__name__", hint))


def _example(hint: Any) -> str:
    """Return a text that fits an annotation, for messages."""
    origin = get_origin(hint)
    inner = get_args(hint)
    if origin in (Union, types.UnionType):
        return _example(next((one for one in inner if one is not types.NoneType), str))
    if origin is Literal:
        return str(inner[0])
    if (origin or hint) in LIST_TYPES:
        member = _example(inner[0]) if inner else "0.5"
        return ",".join([member] * 3)
    return SCALAR_EXAMPLES.get(hint, "'{\"key\": 1}'")
