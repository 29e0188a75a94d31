"""Tables from public names to classes, filled by the modules of a component folder."""

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Generic, TypeVar, cast

from robustbench_aigi.errors import UnknownNameError

LISTED_AS: Mapping[str, str] = MappingProxyType(
    {
        "detector": "detectors",
        "attack": "attacks",
        "suite": "suites",
        "recipe": "recipes",
        "training plan": "training-plans",
        "policy": "policies",
        "prompt file": "prompts",
        "policy rule": "rules",
        "report format": "formats",
        "export format": "exports",
        "layout": "layouts",
        "endpoint": "endpoints",
        "executor": "executors",
        "training method": "methods",
    }
)
"""Kind of name, as messages call it, to what ``robustbench-aigi list`` calls it."""
T = TypeVar("T")
C = TypeVar("C", bound=type)


class Registry(Generic[T]):
    """Table from public name to class, one per kind of component.

    Args:
        kind: the noun in messages, such as "detector".
        package: its modules are imported at the first look-up, so adding a file is registering it.
            Installed packages add theirs through the entry point group of the same name. One that
            cannot be imported is left out, and named in :attr:`broken`, in the message about a name
            that is not found, and by ``list``.
    """

    def __init__(self, kind: str, package: str) -> None:
        self._kind = kind
        self._package = package
        self._classes: dict[str, type[T]] = {}
        self._broken: dict[str, str] = {}
        self._loaded = False

    def add(self, name: str) -> Callable[[C], C]:
        """Register the decorated class. Raises ``ValueError`` if ``name`` is taken."""

        def register(cls: C) -> C:
            if name in self._classes:
                taken = self._classes[name].__qualname__
                raise ValueError(f"{self._kind} {name!r} is already {taken}; pick another name")
            self._classes[name] = cast("type[T]", cls)
            return cls

        return register

    def get(self, name: str) -> type[T]:
        """Return the class called ``name``, or the one at ``module:Class``. Raises
        ``UnknownNameError`` with near misses.
        """
        if ":" in name:
            return self._third_party(name)
        self._load()
        if name not in self._classes:
            raise UnknownNameError(
                " ".join([unknown(self._kind, name, self.names()), *self._not_imported()])
            )
        return self._classes[name]

    def broken(self) -> dict[str, str]:
        """Modules and entry points that could not be imported, each with the error."""
        self._load()
        return dict(self._broken)

    def _not_imported(self) -> list[str]:
        return [
            f"{self._kind.capitalize()} module {name} failed to import: {why}."
            for name, why in self.broken().items()
        ]

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._load()
        return sorted(self._classes)

    def name_of(self, cls: type[T]) -> str:
        """The name ``cls`` is registered under, or its ``module:Class`` address."""
        named = [name for name, known in self._classes.items() if known is cls]
        return named[0] if named else f"{cls.__module__}:{cls.__qualname__}"

    def _third_party(self, address: str) -> type[T]:
        module, _, attribute = address.removeprefix("python:").partition(":")
        try:
            return cast("type[T]", getattr(_imported(module), attribute))
        except (ImportError, AttributeError, ValueError, TypeError) as error:
            where = module.removesuffix(".py").lstrip("./").replace("/", ".")
            hint = (
                f" A file is named without its ending, {where}:{attribute}."
                if module.endswith(".py")
                else ""
            )
            raise UnknownNameError(
                f"no {self._kind} at {address!r}: {error}. Write module:Class, where `import"
                f" module` works or module.py is in the current folder, {Path.cwd()}.{hint}"
            ) from error

    def _load(self) -> None:
        if self._loaded:
            return
        package = importlib.import_module(self._package)
        self._loaded = True
        self._import_modules(package)
        for entry in entry_points(group=self._package):
            if (cls := self._attempt(f"{entry.name} ({entry.value})", entry.load)) is not None:
                self._classes.setdefault(entry.name, cls)

    def _import_modules(self, package: ModuleType) -> None:
        """Import the modules of a package and its sub-packages; names that begin with ``_`` hold no
        component.
        """
        for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            if found.name.rpartition(".")[2].startswith("_"):
                continue
            module = self._attempt(found.name, partial(importlib.import_module, found.name))
            if found.ispkg and module is not None:
                self._import_modules(module)

    def _attempt(self, name: str, load: Callable[[], Any]) -> Any:
        """What ``load`` returns; None, with the error in :attr:`broken`, where somebody's module
        cannot be imported.
        """
        try:
            return load()
        except (
            Exception
        ) as error:  # a module may raise anything, and must not take the others with it
            self._broken[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return None


def _imported(module: str) -> ModuleType:
    """Import a module, also from the current folder, which the console script does not look into.

    The folder stays on the path, behind all else: worker processes import the module by the same
    path, and the module may import its neighbours later on.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        here = str(Path.cwd())
        if error.name != module.partition(".")[0] or here in sys.path:
            raise
        sys.path.append(here)
        importlib.invalidate_caches()
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError:
            sys.path.remove(here)
            raise


def unknown(kind: str, got: str, known: list[str]) -> str:
    """Return a message with the unknown name, the nearest names, and the command that lists all of
    them.

    Args:
        kind: noun of the message; where ``robustbench-aigi list`` knows it (see :data:`LISTED_AS`),
            the command is given.
    """
    near = get_close_matches(got, known, n=3)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
    command = (
        f" List all with `robustbench-aigi list {LISTED_AS[kind]}`." if kind in LISTED_AS else ""
    )
    return f"no {kind} called {got!r}. {hint}{command}"


def near_names(got: str, known: Sequence[str]) -> str:
    """Return a sentence that names what was probably meant, else all that is known.

    Args:
        got: a name that is not known.
        known: the names that are.
    """
    near = get_close_matches(got, known, n=3)
    return f"Did you mean {' or '.join(near)}?" if near else f"There are: {', '.join(known)}."


def renamed(name: str) -> tuple[str, str]:
    """``NEW=NAME`` as its two halves; ``("", name)`` for a name without a new one. A ``/`` ends
    what may be one.
    """
    found = re.fullmatch(r"([\w.+-]+)=(.+)", name)
    return (found[1], found[2]) if found else ("", name)
