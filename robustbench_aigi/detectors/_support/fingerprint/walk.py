"""The walk of a fingerprint: every object that a detector is made of, in an order that is the same
in every process.
"""

import functools
import hashlib
import inspect
import io
import logging
import re
import threading
import types
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import date, time, timedelta, tzinfo
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from random import Random
from typing import Any
from uuid import UUID

import numpy as np
import torch
from torch import Tensor, nn

from robustbench_aigi.detectors._support.fingerprint.code import library, outside
from robustbench_aigi.detectors._support.fingerprint.code_walk import CodeWalk
from robustbench_aigi.detectors._support.fingerprint.core import Unknown
from robustbench_aigi.detectors._support.fingerprint.tensors import (
    hooks,
    scripted,
    tensor_parts,
    unwrapped,
)
from robustbench_aigi.detectors.base import Card, Detector

COUNTED = ("threshold", "gradient", "stochastic", "input_size", "cam")
"""Facts on a card that change a number of the detector; the others are words."""
IGNORED = frozenset(
    {
        "training",
        "at_once",
        "_is_full_backward_hook",
        "_non_persistent_buffers_set",
        "_compiled_call_impl",
        "_state_dict_hooks",
        "_state_dict_pre_hooks",
        "_load_state_dict_pre_hooks",
        "_load_state_dict_post_hooks",
        "_forward_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_hooks_always_called",
        "_forward_pre_hooks",
        "_forward_pre_hooks_with_kwargs",
        "_backward_hooks",
        "_backward_pre_hooks",
        "_is_torch_compile",
    }
)
"""Attributes of a module that no logit depends on, or that :func:`hooks` gives in another form."""
DERIVED = frozenset({"__pydantic_fields_set__", "_use_default_values"})
"""What pydantic and diffusers note of how an object came about; the latter in another order in
every process.
"""
BY_REPR: tuple[type, ...] = (
    type(None),
    bool,
    int,
    float,
    complex,
    bytes,
    bytearray,
    type(Ellipsis),
    type(NotImplemented),
    range,
    slice,
)
BY_REPR += (
    date,
    time,
    timedelta,
    tzinfo,
    Decimal,
    Fraction,
    UUID,
    torch.dtype,
    torch.layout,
    torch.memory_format,
)
WITHOUT_STATE = (
    type(threading.Lock()),
    type(threading.RLock()),
    logging.Logger,
    logging.LoggerAdapter,
    torch.device,
)
NAMED_ONLY = (
    types.BuiltinFunctionType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    np.ufunc,
)
ITERATORS = (types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType)


class Walk(CodeWalk):
    """Every object that a detector is made of."""

    def visit(self, value: Any, where: str) -> None:
        """See :meth:`Core.visit`."""
        value = unwrapped(value)
        if self._plain(value):
            return
        if not isinstance(value, tuple | frozenset) and not self.is_first(
            value
        ):  # equal tuples may be one object
            return
        try:
            self._handler(value)(value, where)
        except RecursionError:
            self.lost("an object too deep to walk", where)

    def _plain(self, value: Any) -> bool:
        """Add a value without parts; False if it has any."""
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

    def _handler(self, value: Any) -> Callable[[Any, str], None]:
        kinds: tuple[tuple[Any, Callable[[Any, str], None]], ...] = (
            (Tensor, self._tensor),
            (np.ndarray | np.generic, self._array),
            (Card, self._card),
            (nn.Module, self._module),
            (Mapping, self._mapping),
            (list | tuple | deque, self._sequence),
            (set | frozenset, self._set),
            (types.FunctionType, self.function),
            (types.MethodType, lambda v, w: self.all(w, v.__func__, v.__self__)),
            (functools.partial, lambda v, w: self.all(w, v.func, v.args, v.keywords)),
            (staticmethod | classmethod, lambda v, w: self.visit(v.__func__, w)),
            (property, lambda v, w: self.all(w, v.fget, v.fset)),
            (functools.cached_property, lambda v, w: self.visit(v.func, w)),
            (type, self.class_),
            (types.ModuleType, self.module_value),
            (NAMED_ONLY, self.named),
            (ITERATORS, lambda v, w: self.lost("a generator", w)),
            (weakref.ref, lambda v, w: self.visit(v(), w)),
            (types.CellType, self.cell),
            (ContextVar, lambda v, w: self.all(w, v.name, v.get(None))),
            (torch.Generator, lambda v, w: self.visit(v.get_state(), w)),
            (Random, lambda v, w: self.visit(v.getstate(), w)),
            (np.random.Generator, lambda v, w: self.visit(v.bit_generator.state, w)),
        )
        return next((how for kind, how in kinds if isinstance(value, kind)), self._object)

    def _tensor(self, tensor: Tensor, where: str) -> None:
        parts = tensor_parts(tensor)
        if isinstance(parts, str):
            self.lost(parts, where)
            return
        for part in parts:
            if isinstance(part, Tensor):
                self.visit(part, where)
            else:
                self.put(part)

    def _array(self, array: Any, where: str) -> None:
        whole = np.asarray(array)
        self.put("array", str(whole.dtype), str(whole.shape))
        if whole.dtype.hasobject:
            self.visit(whole.tolist(), where)
        else:
            self.put(np.ascontiguousarray(whole).tobytes())

    def _card(self, card: Card, where: str) -> None:
        for fact in COUNTED:
            self.all(where, fact, getattr(card, fact))

    def _mapping(self, mapping: Mapping[Any, Any], where: str) -> None:
        kept = {
            key: value
            for key, value in mapping.items()
            if not (isinstance(key, str) and key in DERIVED)
        }
        self.put("mapping", str(len(kept)))
        for key, value in kept.items():
            self.visit(key, where)
            self.visit(value, f"{where}.{key}" if isinstance(key, str) else where)
        self._extra(mapping, where)

    def _sequence(self, values: Any, where: str) -> None:
        self.put(type(values).__qualname__, str(len(values)))
        for number, value in enumerate(values):
            self.visit(value, f"{where}.{number}")
        self._extra(values, where)

    def _set(self, values: Any, where: str) -> None:
        """Members one by one, because their order depends on the process."""
        own, seen, found = self.sha, self._seen, []
        for value in values:
            self.sha, self._seen = hashlib.sha256(), dict(seen)
            self.visit(value, where)
            found.append(self.sha.hexdigest())
        self.sha, self._seen = own, seen
        self.put("set", *sorted(found))

    def _extra(self, value: Any, where: str) -> None:
        """The class and the attributes of a container that is none of Python's own."""
        if type(value).__module__ not in ("builtins", "collections"):
            self.visit(type(value), where)
            self._attributes(value, where)

    def _module(self, module: nn.Module, where: str) -> None:
        if isinstance(module, torch.jit.ScriptModule):
            self.put(*scripted(module))
        elif not self._declared(module, where):
            if isinstance(module, torch.fx.GraphModule):
                self.put("graph", module.code)
                self.all(where, module._parameters, module._buffers, module._modules)
            else:
                self.visit(type(module), where)
                self._attributes(module, where)
            self.visit(hooks(module), f"{where}.hooks".removeprefix("."))

    def _declared(self, value: Any, where: str) -> bool:
        """Add what an object says of itself; False if it leaves that to the walk."""
        parts = getattr(type(value), "fingerprint_parts", None)
        declared = None if parts is None else value.fingerprint_parts()
        if declared is None:
            return False
        self.visit(type(value), where)
        if isinstance(value, Detector):
            self.visit(value.card, where)
        self.visit(dict(declared), where)
        return True

    def _object(self, value: Any, where: str) -> None:
        if isinstance(value, io.IOBase):
            self.lost("an open file", where)
            return
        if self._declared(value, where):
            return
        kind = type(value)
        if outside(kind.__module__) and not self._building:
            self.lost(f"a connection ({kind.__module__}.{kind.__qualname__})", where)
            return
        self.visit(kind, where)
        self._attributes(value, where)
        if _opaque(kind):
            self._pickled(value, where)

    def _attributes(self, value: Any, where: str) -> None:
        """Attributes by name, without those that are computed from others."""
        kind = type(value)
        passed = DERIVED | (IGNORED if isinstance(value, nn.Module) else frozenset())
        derived = library(kind.__module__) is not None
        held = dict(getattr(value, "__dict__", {}))
        for base in kind.__mro__:
            slots = base.__dict__.get("__slots__", ())
            names = (slots,) if isinstance(slots, str) else tuple(slots)
            held |= {
                n: getattr(value, n)
                for n in names
                if n not in ("__dict__", "__weakref__") and hasattr(value, n)
            }
        for name in sorted(held, key=str):
            cached = isinstance(inspect.getattr_static(kind, name, None), functools.cached_property)
            if name in passed or cached or (derived and "cache" in name):
                continue
            self.put(name)
            self.visit(held[name], f"{where}.{_shown(name)}".strip("."))

    def _pickled(self, value: Any, where: str) -> None:
        """The state of an object that is written in C, as far as it can be pickled."""
        kind = type(value)
        try:
            reduced = value.__reduce_ex__(4)
            parts = (
                [reduced]
                if isinstance(reduced, str)
                else [*reduced[:3], *(list(i or ()) for i in reduced[3:5])]
            )
        except Exception:  # whatever its author chose to raise
            self.lost(
                f"an object of {kind.__module__}.{kind.__qualname__}, whose state cannot be read,",
                where,
            )
            return
        self.visit(parts, where)


def _shown(name: str) -> str:
    """A name as a user writes it: parts of a module are below its own name."""
    return "" if name in ("_modules", "_parameters", "_buffers") else name


def _opaque(cls: type) -> bool:
    """Whether instances hold more than Python attributes: something in C that a walk does not
    see.
    """
    slots = 0
    for base in cls.__mro__:
        own = base.__dict__.get("__slots__", ())
        names = (own,) if isinstance(own, str) else tuple(own)
        slots += len([name for name in names if name not in ("__dict__", "__weakref__")])
    seen = slots + (cls.__dictoffset__ > 0) + (cls.__weakrefoffset__ > 0)
    return cls.__basicsize__ > object.__basicsize__ + 8 * seen or cls.__itemsize__ > 0
