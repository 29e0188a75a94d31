"""Record the arguments that an object is constructed with, so that a file can rebuild it."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any


def record_arguments(constructor: Callable[..., None]) -> Callable[..., None]:
    """Wrap an ``__init__`` so that its bound arguments, defaults applied, become ``self.config``.

    The outermost constructor records; those that it calls with ``super()`` change nothing. The
    names in ``self.config_first`` are listed before all others.

    Args:
        constructor: the ``__init__`` of a class.
    """

    @wraps(constructor)
    def recorded(self: Any, *given: Any, **named: Any) -> None:
        if "config" not in vars(self):
            arguments = json_arguments(constructor, self, *given, **named)
            leading = {name: arguments[name] for name in self.config_first if name in arguments}
            vars(self)["config"] = leading | arguments
        constructor(self, *given, **named)

    vars(recorded)["__recorded__"] = constructor
    return recorded


def json_arguments(constructor: Callable[..., None], *given: Any, **named: Any) -> dict[str, Any]:
    """Bind the arguments of a constructor by name, as JSON values.

    Args:
        constructor: the ``__init__`` of a class.
        given: the object, then the positional arguments.
        named: the keyword arguments.

    Returns:
        The arguments with defaults applied, without the object; empty if JSON cannot hold one of
        them, or if they do not fit the constructor, which then raises itself.
    """
    signature = inspect.signature(constructor)
    try:
        bound = signature.bind(*given, **named)
        bound.apply_defaults()
        found: dict[str, Any] = {}
        for parameter in list(signature.parameters.values())[1:]:
            value = bound.arguments[parameter.name]
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                found |= json_value(value)
            elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
                found[parameter.name] = json_value(value)
            elif value:
                return {}  # no name to pass them by
    except TypeError:
        return {}
    return found


def json_value(value: object) -> Any:
    """Return a JSON value, with sequences as lists and mappings as dicts.

    Args:
        value: None, a truth value, a number, text, or a sequence or mapping of these.

    Raises:
        TypeError: JSON cannot hold the value.

    Example:
        >>> json_value({"depths": (2, 2), "pretrained": False})
        {'depths': [2, 2], 'pretrained': False}
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [json_value(part) for part in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: json_value(part) for key, part in value.items()}
    raise TypeError(f"JSON cannot hold {type(value).__name__}")
