"""Addresses of detectors as users type them: ``ALIAS=PLACE?key=value&...``.

Values are percent-encoded as in a URL; ``mean=0.5,0.4,0.3`` is a list and ``{...}`` a JSON object.
A URL has a query of its own, so the arguments of ``https://HOST/PATH?own=1#score=a.b&scale=logit``
stand after the ``#`` and are never sent. An existing file whose name holds ``?``, ``#`` or ``=`` is
taken as it is.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

from robustbench_aigi.detectors._support.addresses.arguments import EncodedValue, decode
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.registry import renamed

T = TypeVar("T")
COMMON_ARGUMENTS = ("weights", "threshold", "name")
"""Arguments of every address: a checkpoint, dataset or ``fresh``; a logit; a name for reports."""
ADDRESS_SCHEMES = ("hf:", "timm:", "onnx:", "endpoint:", "python:")
URL_SCHEMES = ("http://", "https://")
WEIGHTS_ENDINGS = (
    ".safetensors",
    ".onnx",
    ".pth",
    ".pt",
    ".bin",
    ".ckpt",
    ".pth.tar",
    ".pt.tar",
)
"""Endings of the names of files that hold weights, in lower case."""


@dataclass(frozen=True)
class Address:
    """The parts of a detector's address.

    Attributes:
        place: a registered name, a path, ``module:Class``, a URL, or a scheme with what follows it.
        arguments: values by name; those that were typed are :class:`EncodedValue`.
        alias: the name that reports use; None if the address does not give one.
        has_separate_query: whether a URL's own query is marked off from the arguments, by a ``#``
            or because the arguments were given elsewhere.
    """

    place: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    alias: str | None = None
    has_separate_query: bool = False

    @property
    def is_bare(self) -> bool:
        """Whether the place is a plain name such as ``tinyvit-5m``, not a file."""
        if not re.fullmatch(r"[\w.+-]+", self.place):
            return False
        return not is_weights_path(self.place) and not file_exists(self.place)

    def __str__(self) -> str:
        """Format the place with its arguments, as they were typed."""
        if not self.arguments:
            return self.place
        mark = "#" if self.place.startswith(URL_SCHEMES) else "?"
        query = "&".join(f"{key}={value}" for key, value in self.arguments.items())
        return f"{self.place}{mark}{query}"


def parse(text: str) -> Address:
    """Split an address into its parts.

    Args:
        text: the address as it was typed.

    Raises:
        ConfigError: an argument has no value, or is given twice.

    Example:
        >>> found = parse("small=tinyvit-5m?size=64")
        >>> found.alias, found.place, dict(found.arguments)
        ('small', 'tinyvit-5m', {'size': '64'})
    """
    typed_place, query = _cut(text)
    alias = ""
    place = typed_place
    if not path_exists(typed_place):
        alias, place = renamed(typed_place)
    arguments: dict[str, Any] = {}
    for pair in filter(None, query.split("&")):
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError(
                f"{text}: an argument is KEY=VALUE, got {pair!r}. Write {place}?weights={pair}, for"
                " example."
            )
        if unquote(key) in arguments:
            raise ConfigError(f"{text}: {unquote(key)} is given twice. Give it once.")
        arguments[unquote(key)] = EncodedValue(value)
    return Address(place, arguments, alias or None, has_separate_query="#" in text)


def is_weights_path(place: str) -> bool:
    """Return whether a place is the path of a file of weights, judged by its ending alone.

    Args:
        place: the place of an address; whether the file exists does not matter.

    Example:
        >>> places = ("runs/mine.safetensors", "A.PTH", "net.onnx", "tinyvit-5m", "hf:me/a.bin")
        >>> [is_weights_path(place) for place in places]
        [True, True, True, False, False]
    """
    if place.startswith((*ADDRESS_SCHEMES, *URL_SCHEMES)):
        return False
    return place.lower().endswith(WEIGHTS_ENDINGS)


def path_exists(name: str) -> bool:
    """Return whether ``name`` is an existing file or folder; False for what cannot be a path."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):
        return False


def file_exists(name: str) -> bool:
    """Return whether ``name`` is an existing file; False for what cannot be a path."""
    try:
        return Path(name).is_file()
    except (OSError, ValueError):
        return False


def _cut(text: str) -> tuple[str, str]:
    """Split a text into place and query, unless a file has the whole text as its name."""
    if renamed(text)[1].startswith(URL_SCHEMES):
        place, _, query = text.partition("#")
        return place, query
    marks = [found.start() for found in re.finditer(r"\?", text)]
    for end in [len(text), *reversed(marks)]:
        if any(path_exists(name) for name in _possible_paths(text[:end])):
            return text[:end], text[end + 1 :]
    place, _, query = text.partition("?")
    return place, query


def _possible_paths(place: str) -> list[str]:
    """Return the paths that a place may stand for: with and without its alias and scheme."""
    names = [place, renamed(place)[1]]
    return [
        name.removeprefix(scheme) for name in names if name for scheme in ("", *ADDRESS_SCHEMES)
    ]


def construct(make: Callable[..., T], who: str, config: Mapping[str, Any], *given: Any) -> T:
    """Call a constructor, with typed arguments decoded as its annotations say.

    Args:
        make: the class or function.
        who: the detector's address, for messages.
        config: arguments by name; each :class:`EncodedValue` is decoded.
        given: positional arguments before them, such as a path.

    Raises:
        ConfigError: ``make`` does not take an argument, or not such a value.
    """
    signature = inspect.signature(make)
    try:
        signature.bind(*given, **config)
    except TypeError as error:
        taken = [*signature.parameters][len(given) :]
        raise ConfigError(f"{who}: {error}. {_accepted(taken, config)}") from error
    hints = _annotations(make)
    values = {
        key: decode(value, hints.get(key, Any), f"{who}: {key}") for key, value in config.items()
    }
    return make(*given, **values)


def _accepted(taken: list[str], config: Mapping[str, Any]) -> str:
    """Describe the arguments that a constructor takes, with the nearest to an unknown one."""
    unknown = next((key for key in config if key not in taken), "")
    near = get_close_matches(unknown, [*taken, *COMMON_ARGUMENTS], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    own = ", ".join(taken) or "no argument"
    return f"It takes {own}; every detector takes {', '.join(COMMON_ARGUMENTS)}.{hint}"


def _annotations(make: Callable[..., Any]) -> dict[str, Any]:
    """Return a constructor's annotations; empty where one names what cannot be looked up."""
    try:
        found = inspect.signature(make, eval_str=True).parameters
    except (NameError, TypeError, SyntaxError):
        return {}
    return {name: one.annotation for name, one in found.items() if one.annotation is not one.empty}
