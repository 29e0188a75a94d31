"""The part of the walk for code: functions, classes and modules, with what they use."""

import sys
from collections.abc import Iterator
from types import (
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    ModuleType,
)
from typing import Any

from robustbench_aigi.detectors._support.fingerprint.code import (
    all_names,
    code_tokens,
    global_names,
    imported_module,
    module_digest,
    package_of,
    reaches_outside,
)
from robustbench_aigi.detectors._support.fingerprint.core import BaseWalk

CONSTRUCTOR_NAMES = frozenset(
    "__init__ __new__ __post_init__ __init_subclass__ __set_name__".split()
)
"""Methods whose results end in the object, which is walked itself."""
SCORING_NAMES = frozenset("forward logits raw predict predict_proba score".split())
"""Methods that score images, whichever method calls them."""
NOT_FOUND = object()


class CodeWalk(BaseWalk):
    """A walk over functions, classes and modules.

    Constructors come last: what they read outside this process is no part of scoring.

    Args:
        scheme: name of the fingerprint's scheme.
    """

    def __init__(self, scheme: str) -> None:
        super().__init__(scheme)
        self._later: list[tuple[str, Any]] = []
        self._is_building = False
        self._used_modules: set[tuple[str, frozenset[str]]] = set()

    def finish(self) -> None:
        """Add the constructors of all classes that were met."""
        self._is_building = True
        while self._later:
            members = sorted(self._later, key=lambda one: one[0])
            self._later = []
            for where, member in members:
                self.put(where)
                self.visit(member, where)

    def note_outside(self, module: str, where: str) -> None:
        """Note that code reaches outside this process, unless it only builds the detector.

        Args:
            module: full name of the module through which it does.
            where: dotted name of the code.
        """
        if not self._is_building:
            self.note_unknown(f"what is asked through {module}", where)

    def add_builtin(self, value: Any, where: str) -> None:
        """Add something written in C: its name, and the object that it is bound to.

        Args:
            value: a built-in function, method or descriptor.
            where: its dotted name.
        """
        module = str(getattr(value, "__module__", None) or "")
        name = getattr(value, "__qualname__", getattr(value, "__name__", ""))
        self.put("built in", module, str(name))
        if reaches_outside(module):
            self.note_outside(module, where)
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, ModuleType | type):
            self.visit(owner, where)
        elif module in sys.modules and package_of(module) is None:
            self.put(module_digest(sys.modules[module]))

    def add_function(self, function: FunctionType, where: str) -> None:
        """Add a function: its code, defaults and closure; of a user's own also what it looks up.

        Args:
            function: written in Python.
            where: its dotted name.
        """
        module = str(function.__globals__.get("__name__", ""))
        package = package_of(module)
        tokens = code_tokens(function.__code__)
        self.put("function", function.__qualname__, package or module, *tokens)
        self.visit_all(where, function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            self.add_cell(cell, where)
        if package is None:
            for name in sorted(vars(function).keys() - {"__wrapped__", "__isabstractmethod__"}):
                self.visit_all(where, name, vars(function)[name])
            self._add_globals(function, where or function.__qualname__)
        elif reaches_outside(module):
            self.note_outside(module, where)

    def add_cell(self, cell: CellType, where: str) -> None:
        """Add what a closure holds.

        Args:
            cell: one variable of the closure.
            where: dotted name of the function.
        """
        try:
            held = cell.cell_contents
        except ValueError:  # not filled yet
            self.put("empty cell")
            return
        before = len(self.unknown)
        self.visit(held, where)
        self.unknown[before:] = [f"a closure over {what}" for what in self.unknown[before:]]

    def _add_globals(self, function: FunctionType, where: str) -> None:
        """Add what a user's function looks up in its module, and what it imports itself."""
        names = all_names(function.__code__)
        for name, is_import in dict.fromkeys(global_names(function.__code__)):
            self.put(name)
            found = function.__globals__.get(name, NOT_FOUND)
            if is_import:
                found = imported_module(function, name)
            if is_import or isinstance(found, ModuleType):
                self._add_used_module(found, names, where)
            elif found is not NOT_FOUND:
                self.visit(found, f"{name}, which {function.__qualname__} uses")
            elif name == "open" and not self._is_building:
                self.note_unknown("a file that is opened at every call", where)

    def _add_used_module(self, module: ModuleType | str, names: frozenset[str], where: str) -> None:
        """Add a module that a function uses: a user's own by its file and its named members."""
        full = module if isinstance(module, str) else module.__name__
        if any(reaches_outside(one) for one in (full, *(f"{full}.{name}" for name in names))):
            self.note_outside(full, where)
        package = package_of(full) if full in sys.modules else None
        self.put("module", package or full)
        if package is not None:
            return
        self.put("" if full == "__main__" else module_digest(module))
        if isinstance(module, str) or (full, names) in self._used_modules:
            return
        self._used_modules.add((full, names))
        for name in sorted(names & vars(module).keys()):
            value = vars(module)[name]
            if isinstance(value, ModuleType):
                self._add_used_module(value, names, where)
            else:
                self.visit_all(f"{full}.{name}", name, value)

    def add_module(self, module: ModuleType, where: str) -> None:
        """Add a module that is held as a value: of a user's own, its file.

        Args:
            module: any loaded module.
            where: its dotted name in the detector.
        """
        if reaches_outside(module.__name__):
            self.note_outside(module.__name__, where)
        self.put("module", package_of(module.__name__) or module_digest(module))

    def add_class(self, cls: type, where: str) -> None:
        """Add a class and its bases: of a user's own, all methods and constants.

        Args:
            cls: any class.
            where: its dotted name in the detector.
        """
        bases = list(reversed(cls.__mro__[:-1]))
        own_bases = [base for base in bases if package_of(base.__module__) is None]
        builders = _builder_names(own_bases)
        for base in bases:
            self.put("class", base.__qualname__, package_of(base.__module__) or base.__module__)
            if reaches_outside(base.__module__):
                self.note_outside(base.__module__, where)
            if base in own_bases and (base is cls or self.is_first(base)):
                self._add_members(base, builders)

    def _add_members(self, cls: "type[Any]", builders: frozenset[str]) -> None:
        for name, value in _members(cls):
            where = f"{cls.__qualname__}.{name}"
            if name in builders:
                self._later.append((where, value))
            else:
                self.put(name)
                self.visit(value, where)


def _members(cls: "type[Any]") -> Iterator[tuple[str, Any]]:
    """Yield the functions and constants of a class by name, without Python's own tables."""
    for name, value in sorted(vars(cls).items()):
        if isinstance(value, GetSetDescriptorType | MemberDescriptorType) or name == "_abc_impl":
            continue
        is_table = name.startswith("__") and name.endswith("__")
        if not is_table or isinstance(value, FunctionType | staticmethod | classmethod | property):
            yield name, getattr(value, "__recorded__", value)  # a detector's own constructor


def _builder_names(classes: "list[type[Any]]") -> frozenset[str]:
    """Return the methods that only build an object: constructors, and what these alone call."""
    methods = [(name, value) for cls in classes for name, value in _members(cls)]
    called = {name: frozenset[str]() for name, _ in methods}
    for name, value in methods:
        called[name] |= _names_of(value)
    builders = CONSTRUCTOR_NAMES | {n for n, value in methods if isinstance(value, classmethod)}
    others = called.keys() - builders
    while True:
        used_by_others = {used for name in others for used in called[name] - {name}}
        used_by_builders = {used for name in builders & called.keys() for used in called[name]}
        candidates = others & used_by_builders - used_by_others - SCORING_NAMES
        more = {name for name in candidates if not name.startswith("__")}
        if not more:
            return frozenset(builders - used_by_others)
        builders |= more
        others -= more


def _names_of(value: Any) -> frozenset[str]:
    """Return the names in the code of a method, whatever decorates it."""
    inner = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
    inner = getattr(inner, "__wrapped__", inner)
    code = getattr(inner, "__code__", None)
    return all_names(code) if isinstance(code, CodeType) else frozenset()
