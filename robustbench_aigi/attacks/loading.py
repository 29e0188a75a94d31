"""Attacks by name, with their numbers checked."""

import dataclasses
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from robustbench_aigi.attacks.base import Attack, Perturbation, attacks
from robustbench_aigi.errors import BadConfig
from robustbench_aigi.registry import unknown

SEVERITIES = 5
ADAPTERS: Mapping[str, str] = MappingProxyType(
    {kind: f"robustbench_aigi.attacks.{kind}_adapter" for kind in ("torchattacks", "art")}
)
"""Prefix of a name to the module that adapts that library's attacks."""


def load_attack(name: str, *, severity: int | None = None, **numbers: Any) -> Attack:
    """Build an attack by name, such as ``load_attack("pgd-linf", eps=8)`` or ``load_attack("jpeg", severity=3)``.

    Args:
        severity: 1 (mildest) to 5, for a perturbation that has severities; ``numbers`` given beside it win.

    Raises:
        UnknownName: no such attack. BadConfig: a number it does not have, or of the wrong type.
    """
    cls = _class_of(name, numbers)
    if severity is not None:
        numbers = {**_severity(cls, name, severity), **numbers}
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key, value in numbers.items():
        if key not in fields:
            raise BadConfig(unknown(f"number of {name}", key, sorted(fields)))
        default = _default(fields[key])
        kind = int if fields[key].type is int else int | float
        number = isinstance(default, int | float) and isinstance(value, kind) and not isinstance(value, bool)
        if not number and not isinstance(value, type(default)):
            raise BadConfig(
                f"{name} wants {key} of type {type(default).__name__}, got {value!r}. Its default is {default!r}."
            )
    return cls(**numbers)


class Described(NamedTuple):
    """What a user must know to write an attack: its summary, what it needs of a detector, its numbers with defaults.

    ``severities`` is how many severities it has, 0 for none.
    """

    summary: str
    access: str
    numbers: dict[str, Any]
    severities: int


def numbers_of(name: str) -> Described:
    """Describe the registered attack called ``name``. Raises ``UnknownName``."""
    cls = attacks.get(name)
    summary = (cls.__doc__ or "").partition("\n")[0].partition(". ")[0].replace("``", "").removesuffix(".")
    numbers = {field.name: _default(field) for field in dataclasses.fields(cls)}
    graded = issubclass(cls, Perturbation) and bool(cls.severities)
    return Described(summary, cls.access, numbers, SEVERITIES if graded else 0)


def _default(field: "dataclasses.Field[Any]") -> Any:
    return field.default if field.default is not dataclasses.MISSING else cast("Any", field).default_factory()


def _class_of(name: str, numbers: Mapping[str, Any]) -> type[Attack]:
    """The registered class, or that of another library's attack, which is imported only when asked for."""
    library, _, kind = name.partition(":")
    if library not in ADAPTERS:
        return attacks.get(name)
    adapter = importlib.import_module(ADAPTERS[library])
    return cast("type[Attack]", adapter.attack_class(kind, str(numbers["norm"]) if "norm" in numbers else None))


def _severity(cls: type[Attack], name: str, severity: int) -> dict[str, Any]:
    table = cls.severities if issubclass(cls, Perturbation) else {}
    if not table:
        raise BadConfig(f"{name} has no severities, got severity {severity!r}. Give its own numbers instead.")
    if type(severity) is not int or not 1 <= severity <= SEVERITIES:
        raise BadConfig(
            f"{name} wants a severity of 1 (mildest) to {SEVERITIES}, got {severity!r}. Write severity = 3, "
            f"or its own numbers: {', '.join(table)}."
        )
    return {number: values[severity - 1] for number, values in table.items()}
