"""Addresses of detectors as they are typed: ``NEW=PLACE?key=value&...``, and arguments made what a
constructor takes.

Values are percent-decoded as in a URL; ``mean=0.5,0.4,0.3`` is a list and ``{...}`` a JSON object.
A URL has a query of its own, so that the arguments of
``https://HOST/PATH?own=1#score=a.b&scale=logit`` stand after the ``#``, which is never sent. A file
whose name holds ``?``, ``#`` or ``=`` is taken as it is.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote

from robustbench_aigi.detectors._support.addresses.arguments import Written, typed
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.registry import renamed

T = TypeVar("T")
COMMON = ("weights", "threshold", "name")
"""Arguments of every address: ``fresh``, ``cifake`` or a checkpoint; a logit; what reports call it.
"""
SCHEMES = ("hf:", "timm:", "onnx:", "endpoint:", "python:")
URLS = ("http://", "https://")
TORCH_FILES = (".pth", ".pt", ".bin", ".ckpt")
FILES = (".safetensors", ".onnx", *TORCH_FILES)
"""Ends of the names of files that hold weights."""


@dataclass(frozen=True)
class Address:
    """A detector's address in parts.

    Attributes:
        place: a name, a path, ``module:Class``, a URL, or a scheme with what is below it.
        arguments: by name; those that were typed are :class:`Written`.
        new: what reports call it; empty if that is not said.
        apart: whether arguments were told apart from the query of a URL, by a ``#`` or by being
            given elsewhere.
    """

    place: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    new: str = ""
    apart: bool = False

    @property
    def is_bare(self) -> bool:
        """Whether the place is a plain name such as ``tinyvit-5m``, and no file."""
        named = re.fullmatch(r"[\w.+-]+", self.place) is not None and not self.place.endswith(FILES)
        return named and not is_there(self.place, "is_file")

    def __str__(self) -> str:
        """The place with the arguments that were typed, as they were typed."""
        mark = "#" if self.place.startswith(URLS) else "?"
        told = "&".join(f"{key}={value}" for key, value in self.arguments.items())
        return f"{self.place}{mark}{told}" if told else self.place


def parse(text: str) -> Address:
    """Split an address into its parts.

    Raises:
        ConfigError: an argument without a value, or given twice; a new name that is none.
    """
    place, query = _cut(text)
    new, place = ("", place) if is_there(place) else renamed(place)
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
        arguments[unquote(key)] = Written(value)
    return Address(place, arguments, new, apart="#" in text)


def is_there(name: str, kind: Literal["exists", "is_file"] = "exists") -> bool:
    """Whether there is a file (or, unless ``is_file`` is asked, a folder) of a name; False for what
    can be no name.
    """
    try:
        return Path(name).is_file() if kind == "is_file" else Path(name).exists()
    except (OSError, ValueError):
        return False


def _cut(text: str) -> tuple[str, str]:
    """Place and query: cut at the mark, unless a file is called so."""
    bare = renamed(text)[1]
    if bare.startswith(URLS):
        place, _, query = text.partition("#")
        return place, query
    marks = [found.start() for found in re.finditer(r"\?", text)]
    for end in [len(text), *reversed(marks)]:
        if any(is_there(name) for name in _as_files(text[:end])):
            return text[:end], text[end + 1 :]
    place, _, query = text.partition("?")
    return place, query


def _as_files(place: str) -> list[str]:
    """The paths that a place may be."""
    names = [place, renamed(place)[1]]
    return [name.removeprefix(scheme) for name in names if name for scheme in ("", *SCHEMES)]


def constructed(make: Callable[..., T], who: str, config: Mapping[str, Any], *given: Any) -> T:
    """Call a constructor with arguments, those that are :class:`Written` as its annotations say.

    Args:
        who: the detector's address, for messages. given: what comes before the arguments, such as a
            path.

    Raises:
        ConfigError: it does not take an argument, or not such a value.
    """
    signature = inspect.signature(make)
    try:
        signature.bind(*given, **config)
    except TypeError as error:
        taken = [*signature.parameters][len(given) :]
        lost = next((key for key in config if key not in taken), "")
        near = get_close_matches(lost, [*taken, *COMMON], n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        takes = ", ".join(taken) or "no argument"
        raise ConfigError(
            f"{who}: {error}. It takes {takes}; every detector takes {', '.join(COMMON)}.{hint}"
        ) from error
    hints = _hints(make)
    values = {
        key: typed(value, hints.get(key, Any), f"{who}: {key}") for key, value in config.items()
    }
    return make(*given, **values)


def _hints(make: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of a constructor; none where they name what cannot be looked up."""
    try:
        found = inspect.signature(make, eval_str=True).parameters
    except (NameError, TypeError, SyntaxError):
        return {}
    return {name: one.annotation for name, one in found.items() if one.annotation is not one.empty}
