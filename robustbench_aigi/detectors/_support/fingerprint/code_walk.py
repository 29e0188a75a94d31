"""The part of the walk that is about code: functions, classes and modules, with what they use of
the user's own.
"""

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
    file_of,
    imported,
    library,
    looked_up,
    outside,
)
from robustbench_aigi.detectors._support.fingerprint.core import Core

CONSTRUCTORS = frozenset(
    {"__init__", "__new__", "__post_init__", "__init_subclass__", "__set_name__"}
)
"""What they read from outside ends in the object, which is walked itself."""
CALLED = frozenset({"forward", "logits", "raw", "predict", "predict_proba", "score"})
"""Methods that score images, whoever else calls them."""
NOTHING = object()


class CodeWalk(Core):
    """Functions, classes and modules. Constructors come last, so that what scores images is told
    from what builds.
    """

    def __init__(self, scheme: str) -> None:
        super().__init__(scheme)
        self._later: list[tuple[str, Any]] = []
        self._building = False
        self._used_modules: set[tuple[str, frozenset[str]]] = set()

    def finish(self) -> None:
        """Add the constructors of all classes that were met."""
        self._building = True
        while self._later:
            left, self._later = sorted(self._later, key=lambda one: one[0]), []
            for where, member in left:
                self.put(where)
                self.visit(member, where)

    def asks_outside(self, module: str, where: str) -> None:
        """Note that code asks what is not in this process, unless it only does so while it builds
        the detector.
        """
        if not self._building:
            self.lost(f"what is asked through {module}", where)

    def named(self, value: Any, where: str) -> None:
        """Add something written in C: its name, and the object that it is bound to."""
        module = str(getattr(value, "__module__", None) or "")
        self.put(
            "built in", module, str(getattr(value, "__qualname__", getattr(value, "__name__", "")))
        )
        if outside(module):
            self.asks_outside(module, where)
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, ModuleType | type):
            self.visit(owner, where)
        elif module in sys.modules and library(module) is None:
            self.put(file_of(sys.modules[module]))

    def function(self, function: FunctionType, where: str) -> None:
        """Add a function: its code, defaults and closure; of a user's own also what it looks up."""
        module = str(function.__globals__.get("__name__", ""))
        of = library(module)
        self.put("function", function.__qualname__, of or module, *code_tokens(function.__code__))
        self.all(where, function.__defaults__, function.__kwdefaults__)
        for cell in function.__closure__ or ():
            self.cell(cell, where)
        if of is None:
            for name in sorted(vars(function).keys() - {"__wrapped__", "__isabstractmethod__"}):
                self.all(where, name, vars(function)[name])
            self._globals(function, where or function.__qualname__)
        elif outside(module):
            self.asks_outside(module, where)

    def cell(self, cell: CellType, where: str) -> None:
        """Add what a closure holds."""
        try:
            held = cell.cell_contents
        except ValueError:  # not filled yet
            self.put("empty cell")
            return
        before = len(self.unknown)
        self.visit(held, where)
        self.unknown[before:] = [f"a closure over {what}" for what in self.unknown[before:]]

    def _globals(self, function: FunctionType, where: str) -> None:
        """What a user's function looks up in its module, and what it imports itself."""
        names = all_names(function.__code__)
        for name, is_import in dict.fromkeys(looked_up(function.__code__)):
            self.put(name)
            found = (
                imported(function, name) if is_import else function.__globals__.get(name, NOTHING)
            )
            if is_import or isinstance(found, ModuleType):
                self._used(found, names, where)
            elif found is not NOTHING:
                self.visit(found, f"{name}, which {function.__qualname__} uses")
            elif name == "open" and not self._building:
                self.lost("a file that is opened at every call", where)

    def _used(self, module: ModuleType | str, names: frozenset[str], where: str) -> None:
        """A module that a function uses: a user's own by its file and by those of its members that
        are named.
        """
        full = module if isinstance(module, str) else module.__name__
        if any(outside(one) for one in (full, *(f"{full}.{name}" for name in names))):
            self.asks_outside(full, where)
        of = library(full) if full in sys.modules else None
        self.put("module", of or full)
        if of is not None:
            return
        self.put("" if full == "__main__" else file_of(module))
        if isinstance(module, str) or (full, names) in self._used_modules:
            return
        self._used_modules.add((full, names))
        for name in sorted(names & vars(module).keys()):
            value = vars(module)[name]
            if isinstance(value, ModuleType):
                self._used(value, names, where)
            else:
                self.all(f"{full}.{name}", name, value)

    def module_value(self, module: ModuleType, where: str) -> None:
        """Add a module that is held as a value: of a user's own, its file."""
        if outside(module.__name__):
            self.asks_outside(module.__name__, where)
        self.put("module", library(module.__name__) or file_of(module))

    def class_(self, cls: type, where: str) -> None:
        """Add a class and those it inherits from: of a user's own, all methods and constants."""
        users = [base for base in reversed(cls.__mro__[:-1]) if library(base.__module__) is None]
        builders = _builders(users)
        for base in reversed(cls.__mro__[:-1]):
            self.put("class", base.__qualname__, library(base.__module__) or base.__module__)
            if outside(base.__module__):
                self.asks_outside(base.__module__, where)
            if base in users and (base is cls or self.is_first(base)):
                self._members(base, builders)

    def _members(self, cls: "type[Any]", builders: frozenset[str]) -> None:
        for name, value in _members(cls):
            where = f"{cls.__qualname__}.{name}"
            if name in builders:
                self._later.append((where, value))
            else:
                self.put(name)
                self.visit(value, where)


def _members(cls: "type[Any]") -> Iterator[tuple[str, Any]]:
    """Members of a class that can change what it does, by name: functions and constants, no tables
    of Python's.
    """
    for name, value in sorted(vars(cls).items()):
        if isinstance(value, GetSetDescriptorType | MemberDescriptorType) or name == "_abc_impl":
            continue
        table = name.startswith("__") and name.endswith("__")
        if not table or isinstance(value, FunctionType | staticmethod | classmethod | property):
            yield name, getattr(value, "__recorded__", value)  # a detector's own constructor


def _builders(classes: "list[type[Any]]") -> frozenset[str]:
    """Names of the methods that only build an object: constructors, class methods, and what these
    alone call.
    """
    methods = [(name, value) for cls in classes for name, value in _members(cls)]
    code = {name: frozenset[str]() for name, _ in methods}
    for name, value in methods:
        code[name] |= _names_of(value)
    found = CONSTRUCTORS | {name for name, value in methods if isinstance(value, classmethod)}
    scoring = {name for name in code if name not in found}
    while True:
        used = {called for name in scoring for called in code[name] - {name}}
        from_builders = {called for name in found & code.keys() for called in code[name]}
        more = {n for n in scoring & from_builders - used - CALLED if not n.startswith("__")}
        if not more:
            return frozenset(found - used)
        found, scoring = found | more, scoring - more


def _names_of(value: Any) -> frozenset[str]:
    """Names in the code of a method, whatever decorates it."""
    inner = getattr(value, "__func__", getattr(value, "fget", getattr(value, "func", value)))
    inner = getattr(inner, "__wrapped__", inner)
    code = getattr(inner, "__code__", None)
    return all_names(code) if isinstance(code, CodeType) else frozenset()
