"""What a fingerprint takes of code: a module's owner, a function's bytecode, the names it uses."""

import dis
import importlib.util
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType

from robustbench_aigi.detectors.base import PACKAGE_NAME
from robustbench_aigi.io.hashing import file_digest

SITE_FOLDERS = tuple(Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib"))
"""Folders of installed packages."""
STDLIB_FOLDERS = tuple(Path(sysconfig.get_path(kind)) for kind in ("stdlib", "platstdlib"))
OUTSIDE_MODULES = frozenset(
    """
    aiohttp anthropic boto3 ctypes gradio_client grpc http.client httpx openai requests socket
    subprocess urllib.request urllib3 websocket websockets
    """.split()
)
"""Modules through which code reaches what is not in this process."""


@cache
def package_of(module: str) -> str | None:
    """Return name and version of the installed package that a module belongs to.

    A module is the user's own unless it is of the standard library, of this package, or of a
    package that was installed with a version. torch's version is left out: the same weights give
    the same logits but for rounding.

    Args:
        module: full name of the module.

    Returns:
        The package, such as ``"timm 1.0.9"``; None for a user's own module.

    Example:
        >>> package_of("collections.abc"), package_of("no_such_module")
        ('collections', None)
    """
    top = module.partition(".")[0]
    if top == PACKAGE_NAME:
        return f"{PACKAGE_NAME} {version('robustbench-aigi')}"
    places = _places(top)
    if not places:
        return top if top in sys.builtin_module_names or top in sys.stdlib_module_names else None
    if _are_below(places, SITE_FOLDERS):
        return top if top == "torch" else _released(top)
    return top if _are_below(places, STDLIB_FOLDERS) else None


def _are_below(places: list[Path], folders: tuple[Path, ...]) -> bool:
    return any(place.is_relative_to(folder) for place in places for folder in folders)


def _places(top: str) -> list[Path]:
    """Return the file of a loaded top-level module, or the folders of one without a file."""
    loaded = sys.modules.get(top)
    file = getattr(loaded, "__file__", None)
    return [Path(file)] if file else [Path(place) for place in getattr(loaded, "__path__", ())]


def _released(top: str) -> str | None:
    """Return name and version of an installed package; None if it has no version."""
    try:
        return f"{top} {version(top)}"
    except PackageNotFoundError:
        names = packages_distributions().get(top)
        return f"{top} {version(names[0])}" if names else None


def reaches_outside(module: str) -> bool:
    """Return whether a module reaches what is not in this process: a server, another program.

    Args:
        module: full name of the module.

    Example:
        >>> reaches_outside("urllib.request"), reaches_outside("urllib.parse")
        (True, False)
    """
    parts = module.split(".")
    return any(".".join(parts[:count]) in OUTSIDE_MODULES for count in range(1, len(parts) + 1))


def code_tokens(code: CodeType) -> Iterator[bytes]:
    """Yield all of a code object that runs: bytecode, names, constants, and the code inside it.

    Args:
        code: of a function; its file and line numbers are left out.
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
    """Return a constant as text; a set is sorted, because its order depends on the process."""
    if isinstance(value, frozenset):
        return f"{{{sorted(map(_constant, value))}}}"
    if isinstance(value, tuple):
        return f"({[_constant(part) for part in value]})"
    return f"{type(value).__name__} {value!r}"


def global_names(code: CodeType) -> Iterator[tuple[str, bool]]:
    """Yield the global names that code looks up, in its order.

    Args:
        code: of a function; the code inside it is included.

    Yields:
        A name, and whether it is a module that the code imports itself.
    """
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield str(step.argval), False
        elif step.opname == "IMPORT_NAME":
            yield str(step.argval), True
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from global_names(constant)


def all_names(code: CodeType) -> frozenset[str]:
    """Return every name in code and in the code inside it, attributes included.

    Args:
        code: of a function.
    """
    inside = (all_names(constant) for constant in code.co_consts if isinstance(constant, CodeType))
    return frozenset(code.co_names).union(*inside)


def imported_module(function: FunctionType, name: str) -> ModuleType | str:
    """Return the module that a function's own ``import`` gives; its name if it is not loaded.

    Args:
        function: its package tells what a relative name means.
        name: as it stands in the ``import``.
    """
    package = str(function.__globals__.get("__package__") or "")
    found = [full for full in (f"{package}.{name}", name) if full in sys.modules]
    return sys.modules[found[0]] if found else name


def module_digest(module: ModuleType | str) -> str:
    """Return the SHA-256 of a user module's file; empty if it has none.

    Args:
        module: a loaded module, or the name of one that is not loaded.
    """
    place = getattr(module, "__file__", None)
    if isinstance(module, str):
        place = _origin(module)
    return file_digest(Path(place)) if place and Path(place).is_file() else ""


def _origin(name: str) -> str | None:
    """Return the file that an ``import`` of a module would run, if it can be found."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    return None if spec is None else spec.origin
