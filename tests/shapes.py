"""Run tests with a check of the shapes that annotations promise.

    python -m tests.shapes tests/test_attacks.py -k contract

Only tensors are checked: mypy and pyright check the other types.
"""

import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import pytest
from jaxtyping import AbstractArray, install_import_hook
from torch import Tensor

IMPORTED_BEFORE = "ignore::pytest.PytestAssertRewriteWarning"
"""jaxtyping is a plugin of pytest too, and imported before pytest starts here."""
F = TypeVar("F", bound=Callable[..., Any])


def checked(function: F) -> F:
    """Return a function that raises ``TypeError`` where a tensor has another shape or dtype."""
    promised = _tensors_of(function)
    if not promised:
        return function
    signature = inspect.signature(function)

    @wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        for name, kinds in promised.items():
            if name != "return":
                _check(function, name, given.get(name), kinds)
        result = function(*args, **kwargs)
        _check(function, "the result", result, promised.get("return", ()))
        return result

    return typing.cast("F", wrapper)


def _tensors_of(function: Callable[..., Any]) -> dict[str, tuple[Any, ...]]:
    """Return parameter names, and "return", to the tensor types that their annotations allow."""
    found = {}
    for name, annotation in getattr(function, "__annotations__", {}).items():
        is_union = isinstance(annotation, types.UnionType)
        options = typing.get_args(annotation) if is_union else (annotation,)
        kinds = tuple(k for k in options if isinstance(k, type) and issubclass(k, AbstractArray))
        if kinds:
            found[name] = kinds
    return found


def _check(function: Any, name: str, value: object, kinds: tuple[Any, ...]) -> None:
    if kinds and isinstance(value, Tensor) and not any(isinstance(value, kind) for kind in kinds):
        shown = f"{value.dtype} {tuple(value.shape)}"
        raise TypeError(f"{function.__qualname__}: {name} is {shown}, and {kinds} is promised")


def main() -> int:
    """Run pytest on the arguments of the command line, with every module of the package checked."""
    importlib.import_module("tests.shapes")  # under its own name, by which the hook finds it
    with install_import_hook("robustbench_aigi", "tests.shapes.checked"):
        return int(pytest.main(["-W", IMPORTED_BEFORE, *sys.argv[1:]]))


if __name__ == "__main__":
    raise SystemExit(main())
