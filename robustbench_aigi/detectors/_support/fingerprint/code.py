"""What a fingerprint takes of code: whose a module is, a function's bytecode, and the names that it
looks up.
"""

import dis
import hashlib
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

OWN, TORCH = "robustbench_aigi", "torch"
SITES = tuple(Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib"))
STANDARD = tuple(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))
OUTSIDE = frozenset(
    {
        "aiohttp",
        "anthropic",
        "boto3",
        "ctypes",
        "gradio_client",
        "grpc",
        "http.client",
        "httpx",
        "openai",
        "requests",
        "socket",
        "subprocess",
        "urllib.request",
        "urllib3",
        "websocket",
        "websockets",
    }
)
"""Modules through which code asks what is not in this process."""


@cache
def library(module: str) -> str | None:
    """Name and version of the installed package that a module belongs to; None for a user's own
    module.

    A module is the user's own unless it is of the standard library, of this package, or of a
    package that was installed with a version. torch's version is left out: the same weights give
    the same logits but for rounding.
    """
    top = module.partition(".")[0]
    if top == OWN:
        return f"{OWN} {version('robustbench-aigi')}"
    places = _places(top)
    if not places:
        return top if top in sys.builtin_module_names or top in sys.stdlib_module_names else None
    if any(place.is_relative_to(site) for place in places for site in SITES):
        return top if top == TORCH else _released(top)
    return (
        top
        if any(place.is_relative_to(folder) for place in places for folder in STANDARD)
        else None
    )


def _places(top: str) -> list[Path]:
    """The files of a loaded top-level module, or the folders of one without a file."""
    loaded = sys.modules.get(top)
    file = getattr(loaded, "__file__", None)
    return [Path(file)] if file else [Path(place) for place in getattr(loaded, "__path__", ())]


def _released(top: str) -> str | None:
    try:
        return f"{top} {version(top)}"
    except PackageNotFoundError:
        names = packages_distributions().get(top)
        return f"{top} {version(names[0])}" if names else None


def outside(module: str) -> bool:
    """Whether a module asks what is not in this process: a server, another program."""
    parts = module.split(".")
    return any(".".join(parts[:count]) in OUTSIDE for count in range(1, len(parts) + 1))


def code_tokens(code: CodeType) -> Iterator[bytes]:
    """All of a code object that runs: bytecode, names, constants, and the code inside it; no file,
    no line numbers.
    """
    shape = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    yield repr((shape, names)).encode()
    yield code.co_code
    yield code.co_exceptiontable
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from code_tokens(constant)
        else:
            yield _constant(constant).encode()


def _constant(value: object) -> str:
    """A constant as text; a set's order depends on the process, so its members are sorted."""
    if isinstance(value, frozenset):
        return f"{{{sorted(map(_constant, value))}}}"
    if isinstance(value, tuple):
        return f"({[_constant(part) for part in value]})"
    return f"{type(value).__name__} {value!r}"


def looked_up(code: CodeType) -> Iterator[tuple[str, bool]]:
    """The global names that code looks up, in its order, and whether each is of a module that it
    imports itself.
    """
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(step.argval), False
        elif step.opname == "IMPORT_NAME":
            yield str(step.argval), True
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from looked_up(constant)


def all_names(code: CodeType) -> frozenset[str]:
    """Every name in code and in the code inside it, attributes included."""
    inside = (all_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(code.co_names).union(*inside)


def imported(function: FunctionType, name: str) -> ModuleType | str:
    """The module that a function's own ``import`` gives, or its full name if it is not loaded
    yet.
    """
    package = str(function.__globals__.get("__package__") or "")
    found = [full for full in (f"{package}.{name}", name) if full in sys.modules]
    return sys.modules[found[0]] if found else name


def file_of(module: ModuleType | str) -> str:
    """SHA-256 of a user module's file; empty if it has none."""
    try:
        spec = importlib.util.find_spec(module) if isinstance(module, str) else None
    except (ImportError, ValueError):
        spec = None
    place = getattr(module, "__file__", None) or (spec.origin if spec is not None else None)
    return (
        hashlib.sha256(Path(place).read_bytes()).hexdigest()
        if place and Path(place).is_file()
        else ""
    )
