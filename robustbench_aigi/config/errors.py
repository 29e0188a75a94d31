"""Sentences on what pydantic finds wrong with a file, for the person who wrote the file."""

import re
import types
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, get_args

from pydantic import BaseModel, RootModel, ValidationError

from robustbench_aigi.config.open_model import OpenModel

MAX_FAULTS = 6
"""Faults that are written out; of the others, the number is given."""
MAX_VALUE = 60
"""Characters of a faulty value that are shown."""
EXPECTED_WORDS: Mapping[str, str] = MappingProxyType(
    {
        "int": "a whole number",
        "float": "a number",
        "string": "text in quotes",
        "bool": "true or false",
        "tuple": "a list in [ ]",
        "list": "a list in [ ]",
        "dict": "a table of keys and values",
        "model": "a table of keys and values",
        "literal": "one of {expected}",
        "greater_than_equal": "{ge} or more",
        "greater_than": "more than {gt}",
        "less_than_equal": "{le} or less",
        "less_than": "less than {lt}",
        "too_short": "{min_length} or more entries",
        "too_long": "{max_length} or fewer entries",
    }
)
"""Beginning of a pydantic error type to what was expected; numbers come from its context."""
TAG_FAULTS = ("union_tag_invalid", "union_tag_not_found")
"""Types of error about the key that tells which model of a union is meant."""
Fault = Mapping[str, Any]


def describe_faults(error: ValidationError, model: type[BaseModel], given: object) -> str:
    """Return a sentence per fault: where it is, what was given, and what was expected or meant.

    Args:
        error: of pydantic.
        model: that the file should fit.
        given: content of the file.
    """
    every = error.errors()
    found = [
        fault
        for fault in every
        if not (fault["type"] == "too_short" and _follows(fault["loc"], every))
    ]
    sentences = [_sentence(fault, model, given) for fault in found[:MAX_FAULTS]]
    if len(found) > MAX_FAULTS:
        sentences.append(f"And {len(found) - MAX_FAULTS} more.")
    return " ".join(sentences)


def _follows(loc: tuple[int | str, ...], faults: Sequence[Any]) -> bool:
    """Return whether a list is too short only because its entries have faults of their own."""
    return any(len(other["loc"]) > len(loc) and other["loc"][: len(loc)] == loc for other in faults)


def _sentence(fault: Fault, model: type[BaseModel], given: object) -> str:
    kind = str(fault["type"])
    if kind in TAG_FAULTS and str(fault["ctx"]["discriminator"]).startswith("'"):
        return _tag_sentence(fault, given)
    path = list(_path(fault["loc"], given))
    if kind == "missing":
        path.append(fault["loc"][-1])
    where = ".".join(map(str, path)) or "the whole file"
    if kind == "extra_forbidden":
        keys = _keys(model, fault["loc"][:-1], given)
        return f"{where}: not a key here; {_near(str(path[-1]), keys)}"
    if kind == "missing":
        return f"{where}: this key is missing."
    if kind == "value_error":
        message = str(fault["msg"]).removeprefix("Value error, ")
        return f"{where}: {message}" + ("" if message.endswith((".", "?")) else ".")
    return f"{where}: {_expectation(fault)}"


def _expectation(fault: Fault) -> str:
    """Return what was expected and what was given, with near matches among the choices."""
    kind = str(fault["type"])
    value = repr(fault["input"])[:MAX_VALUE]
    expected = next(
        (text for start, text in EXPECTED_WORDS.items() if kind.startswith(start)), None
    )
    if expected is None:
        return f"{fault['msg']} (got {value})."
    words = expected.format_map(dict(fault.get("ctx", {})))
    choices = re.findall(r"'([^']*)'", words)
    near = get_close_matches(str(fault["input"]), choices, n=2)
    if near:
        return f"expected {words}, got {value}; did you mean {' or '.join(near)}?"
    return f"expected {words}, got {value}."


def _tag_sentence(fault: Fault, given: object) -> str:
    """Return what is wrong with the key that tells which model of a union is meant."""
    context = fault["ctx"]
    key = str(context["discriminator"]).strip("'")
    where = ".".join(map(str, [*_path(fault["loc"], given), key]))
    if fault["type"] == "union_tag_not_found":
        return f"{where}: this key is missing."
    got = str(context["tag"])
    known = str(context["expected_tags"])
    near = get_close_matches(got, re.findall(r"'([^']*)'", known), n=2)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    return f"{where}: expected one of {known}, got {got!r}{hint}"


def _path(loc: Sequence[int | str], given: object) -> Iterator[int | str]:
    """Yield the parts of a path that are in the file; pydantic adds names of unions, for one."""
    here = given
    for part in loc:
        if _holds(here, part):
            yield part
            here = here[part]  # type: ignore[index]  # a mapping or a list, as just checked


def _holds(here: object, part: int | str) -> bool:
    """Return whether a part of a path is a key or an index of what the file has there."""
    is_key = isinstance(here, Mapping) and part in here
    return is_key or (isinstance(here, list) and isinstance(part, int))


def _keys(model: type[BaseModel], loc: Sequence[int | str], given: object) -> list[str]:
    """Return the keys that the file may have at a path, where a union's tag names its model."""
    models = _models(model.model_fields["root"].annotation) if _is_root(model) else [model]
    here = given
    for part in loc:
        here = here[part] if _holds(here, part) else here  # type: ignore[index]
        named = [one for one in models if part in _tags(one)]
        fields = [
            field
            for one in models
            for name, field in one.model_fields.items()
            if part in (name, field.alias)
        ]
        if named:
            models = named
        elif fields:
            models = [found for field in fields for found in _models(field.annotation)]
        if isinstance(here, Mapping):
            models = [_chosen(one, here) for one in models]
    return [field.alias or name for one in models for name, field in one.model_fields.items()]


def _chosen(model: type[BaseModel], given: Mapping[Any, Any]) -> type[BaseModel]:
    """Return the subclass that the content of an open model asks for."""
    return model.model_for(given) if issubclass(model, OpenModel) else model


def _is_root(model: type[BaseModel]) -> bool:
    return issubclass(model, RootModel)


def _tags(model: type[BaseModel]) -> tuple[object, ...]:
    """Return what a path may call a model of a union: its class, or its literal ``kind``."""
    kind = model.model_fields.get("kind")
    return (model.__name__, *(get_args(kind.annotation) if kind else ()))


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the models in the type of a field, such as those of a tuple or a union."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for part in get_args(annotation) for found in _models(part)]


def _near(got: str, known: Sequence[str]) -> str:
    near = get_close_matches(got, known, n=2)
    return f"did you mean {' or '.join(near)}?" if near else f"keys are {', '.join(known)}."
