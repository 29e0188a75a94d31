"""The part of the walk for objects of any class: their attributes, or what they declare."""

import functools
import inspect
import io
from typing import Any

from torch import nn

from robustbench_aigi.detectors._support.fingerprint.code import package_of, reaches_outside
from robustbench_aigi.detectors._support.fingerprint.code_walk import CodeWalk
from robustbench_aigi.detectors._support.fingerprint.kinds import (
    CONSTRUCTION_NOTES,
    MODULE_INTERNALS,
)
from robustbench_aigi.detectors.base import Detector

POINTER_BYTES = 8
"""Bytes of an object's memory for each slot or table of attributes."""


class ObjectWalk(CodeWalk):
    """A walk over objects that have attributes."""

    def add_object(self, value: Any, where: str) -> None:
        """Add an object of any class: what it declares, or its attributes.

        Args:
            value: the object.
            where: its dotted name.
        """
        if isinstance(value, io.IOBase):
            self.note_unknown("an open file", where)
            return
        if self.add_declared(value, where):
            return
        kind = type(value)
        if reaches_outside(kind.__module__) and not self._is_building:
            self.note_unknown(f"a connection ({kind.__module__}.{kind.__qualname__})", where)
            return
        self.visit(kind, where)
        self.add_attributes(value, where)
        if _has_hidden_state(kind):
            self._add_pickled(value, where)

    def add_declared(self, value: Any, where: str) -> bool:
        """Add the parts that an object declares; return False if it leaves them to the walk.

        Args:
            value: an object whose class may have ``fingerprint_parts``.
            where: its dotted name.
        """
        if getattr(type(value), "fingerprint_parts", None) is None:
            return False
        declared = value.fingerprint_parts()
        if declared is None:
            return False
        self.visit(type(value), where)
        if isinstance(value, Detector):
            self.visit(value.card, where)
        self.visit(dict(declared), where)
        return True

    def add_attributes(self, value: Any, where: str) -> None:
        """Add an object's attributes by name, without those that are computed from others.

        Args:
            value: the object.
            where: its dotted name.
        """
        kind = type(value)
        is_installed = package_of(kind.__module__) is not None
        left_out = CONSTRUCTION_NOTES
        if isinstance(value, nn.Module):
            left_out = left_out | MODULE_INTERNALS
        held = dict(getattr(value, "__dict__", {}))
        held |= {name: getattr(value, name) for name in _slots(kind) if hasattr(value, name)}
        for name in sorted(held, key=str):
            static = inspect.getattr_static(kind, name, None)
            is_cache = isinstance(static, functools.cached_property)
            if name in left_out or is_cache or (is_installed and "cache" in name):
                continue
            self.put(name)
            self.visit(held[name], f"{where}.{_shown(name)}".strip("."))

    def _add_pickled(self, value: Any, where: str) -> None:
        """Add the state of an object that is written in C, as far as it can be pickled."""
        kind = type(value)
        try:
            reduced = value.__reduce_ex__(4)
            parts = [reduced]
            if not isinstance(reduced, str):
                parts = [*reduced[:3], *(list(items or ()) for items in reduced[3:5])]
        except Exception:  # an author may raise anything here
            self.note_unknown(
                f"an object of {kind.__module__}.{kind.__qualname__}, whose state cannot be read,",
                where,
            )
            return
        self.visit(parts, where)


def _slots(cls: type) -> list[str]:
    """Return the names of a class's slots, those of its bases included."""
    found: list[str] = []
    for base in cls.__mro__:
        slots = base.__dict__.get("__slots__", ())
        names = (slots,) if isinstance(slots, str) else tuple(slots)
        found += [name for name in names if name not in ("__dict__", "__weakref__")]
    return found


def _shown(name: str) -> str:
    """Return a name as a user writes it: parts of a module are below its own name."""
    return "" if name in ("_modules", "_parameters", "_buffers") else name


def _has_hidden_state(cls: type) -> bool:
    """Return whether instances hold something in C, which Python attributes do not show."""
    visible = len(_slots(cls)) + (cls.__dictoffset__ > 0) + (cls.__weakrefoffset__ > 0)
    visible_bytes = object.__basicsize__ + POINTER_BYTES * visible
    return cls.__basicsize__ > visible_bytes or cls.__itemsize__ > 0
