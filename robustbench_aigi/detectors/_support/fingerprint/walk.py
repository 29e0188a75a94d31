"""The walk of a fingerprint: which part of it adds which kind of object."""

import functools
import hashlib
import re
import types
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from enum import Enum
from pathlib import PurePath
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_aigi.detectors._support.fingerprint.core import Unknown
from robustbench_aigi.detectors._support.fingerprint.kinds import (
    BY_NAME,
    BY_REPR,
    CARD_FACTS,
    CONSTRUCTION_NOTES,
    ITERATOR_TYPES,
    WITHOUT_STATE,
)
from robustbench_aigi.detectors._support.fingerprint.object_walk import ObjectWalk
from robustbench_aigi.detectors._support.fingerprint.tensors import (
    hooks_of,
    missing_values,
    script_parts,
    tensor_parts,
    unwrap,
)
from robustbench_aigi.detectors.base import Card

Handler = Callable[[Any, str], None]
"""Adds an object, given with its dotted name."""


class Walk(ObjectWalk):
    """A walk over every object that a detector is made of."""

    def visit(self, value: Any, where: str) -> None:
        """Add an object and all that it is made of, unless it was added before.

        Args:
            value: the object.
            where: its dotted name, for messages.
        """
        value = unwrap(value)
        if self._add_plain(value):
            return
        may_be_shared = isinstance(value, tuple | frozenset)  # Python may make equal ones one
        if not may_be_shared and not self.is_first(value):
            return
        try:
            self._handler(value)(value, where)
        except RecursionError:
            self.note_unknown("an object too deep to walk", where)

    def _add_plain(self, value: Any) -> bool:
        """Add a value without parts; return False if it has any."""
        if isinstance(value, Enum):
            self.put("enum", value.name, repr(value.value))
            self.visit(type(value), type(value).__qualname__)
        elif isinstance(value, str | PurePath):
            self.put("text", str(value))
        elif isinstance(value, BY_REPR):
            self.put(type(value).__name__, hex(value) if type(value) is int else repr(value))
        elif isinstance(value, WITHOUT_STATE):
            self.put("no state", type(value).__name__)
        elif isinstance(value, Unknown):
            self.unknown.append(value.reason)
        elif isinstance(value, re.Pattern):
            self.put("pattern", repr(value.pattern), str(value.flags))
        else:
            return False
        return True

    def _handler(self, value: Any) -> Handler:
        """Return what adds an object of this kind."""
        for kind, parts in PART_GETTERS:
            if isinstance(value, kind):
                return lambda held, where: self.visit_all(where, *parts(held))
        handlers: tuple[tuple[Any, Handler], ...] = (
            (Tensor, self._add_tensor),
            (np.ndarray | np.generic, self._add_array),
            (Card, self._add_card),
            (nn.Module, self._add_network),
            (Mapping, self._add_mapping),
            (list | tuple | deque, self._add_sequence),
            (set | frozenset, self._add_set),
            (types.FunctionType, self.add_function),
            (type, self.add_class),
            (types.ModuleType, self.add_module),
            (BY_NAME, self.add_builtin),
            (ITERATOR_TYPES, lambda _, where: self.note_unknown("a generator", where)),
            (types.CellType, self.add_cell),
        )
        return next((add for kind, add in handlers if isinstance(value, kind)), self.add_object)

    def _add_tensor(self, tensor: Tensor, where: str) -> None:
        missing = missing_values(tensor)
        if missing is not None:
            self.note_unknown(missing, where)
            return
        for part in tensor_parts(tensor):
            if isinstance(part, Tensor):
                self.visit(part, where)
            else:
                self.put(part)

    def _add_array(self, array: Any, where: str) -> None:
        whole = np.asarray(array)
        self.put("array", str(whole.dtype), str(whole.shape))
        if whole.dtype.hasobject:
            self.visit(whole.tolist(), where)
        else:
            self.put(np.ascontiguousarray(whole).tobytes())

    def _add_card(self, card: Card, where: str) -> None:
        for fact in CARD_FACTS:
            self.visit_all(where, fact, getattr(card, fact))

    def _add_mapping(self, mapping: Mapping[Any, Any], where: str) -> None:
        kept = {
            key: value
            for key, value in mapping.items()
            if not (isinstance(key, str) and key in CONSTRUCTION_NOTES)
        }
        self.put("mapping", str(len(kept)))
        for key, value in kept.items():
            self.visit(key, where)
            self.visit(value, f"{where}.{key}" if isinstance(key, str) else where)
        self._add_subclass(mapping, where)

    def _add_sequence(self, values: Any, where: str) -> None:
        self.put(type(values).__qualname__, str(len(values)))
        for number, value in enumerate(values):
            self.visit(value, f"{where}.{number}")
        self._add_subclass(values, where)

    def _add_set(self, values: Any, where: str) -> None:
        """Hash the members one by one, because their order depends on the process."""
        own = self.sha
        seen = self._seen
        found = []
        for value in values:
            self.sha = hashlib.sha256()
            self._seen = dict(seen)
            self.visit(value, where)
            found.append(self.sha.hexdigest())
        self.sha = own
        self._seen = seen
        self.put("set", *sorted(found))

    def _add_subclass(self, value: Any, where: str) -> None:
        """Add class and attributes of a container that is not one of Python's own."""
        if type(value).__module__ not in ("builtins", "collections"):
            self.visit(type(value), where)
            self.add_attributes(value, where)

    def _add_network(self, module: nn.Module, where: str) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            self.put(*script_parts(module))
            return
        if self.add_declared(module, where):
            return
        if isinstance(module, torch.fx.GraphModule):
            self.put("graph", module.code)
            self.visit_all(where, module._parameters, module._buffers, module._modules)
        else:
            self.visit(type(module), where)
            self.add_attributes(module, where)
        self.visit(hooks_of(module), f"{where}.hooks".removeprefix("."))


PART_GETTERS: tuple[tuple[Any, Callable[[Any], tuple[object, ...]]], ...] = (
    (types.MethodType, lambda method: (method.__func__, method.__self__)),
    (functools.partial, lambda partial: (partial.func, partial.args, partial.keywords)),
    (staticmethod | classmethod, lambda method: (method.__func__,)),
    (property, lambda found: (found.fget, found.fset)),
    (functools.cached_property, lambda found: (found.func,)),
    (weakref.ref, lambda reference: (reference(),)),
    (ContextVar, lambda variable: (variable.name, variable.get(None))),
    (torch.Generator, lambda generator: (generator.get_state(),)),
    (Random, lambda generator: (generator.getstate(),)),
    (np.random.Generator, lambda generator: (generator.bit_generator.state,)),
)
"""Kinds of objects that are no more than other objects, and how to get these."""
