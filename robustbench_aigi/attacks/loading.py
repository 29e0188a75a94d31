"""Attacks by name, with their numbers checked."""

import dataclasses
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from robustbench_aigi.attacks.base import Attack, Perturbation, attacks
from robustbench_aigi.config.units import SEVERITY_LEVEL
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.registry import unknown

ADAPTERS: Mapping[str, str] = MappingProxyType(
    {kind: f"robustbench_aigi.attacks.external.{kind}" for kind in ("torchattacks", "art")}
)
"""Prefix of a name to the module that adapts that library's attacks."""


def load_attack(name: str, *, severity: int | None = None, **numbers: Any) -> Attack:
    """Build an attack by name, such as ``load_attack("pgd-linf", eps=8)`` or ``load_attack("jpeg",
    severity=3)``.

    L-inf sizes are in grey levels, L2 sizes in the norm over pixels in [0, 1]; either may be text,
    ``eps="8/255"``.

    Args:
        severity: 1 (mildest) to 5, for a perturbation that has severities; ``numbers`` given beside
            it win.

    Raises:
        UnknownNameError: no such attack. ConfigError: a number that it does not have, of the wrong
            type, or out of range.
    """
    cls = _class_of(name, numbers)
    if severity is not None:
        numbers = {**_severity(cls, name, severity), **numbers}
    known = sorted(field.name for field in dataclasses.fields(cls))
    for key in numbers:
        if key not in known:
            raise ConfigError(unknown(f"number of {name}", key, known))
    return cls(**numbers)


def plain_numbers(attack: Attack, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the numbers that an attack was built with, converted from text: ``"8/255"``
    becomes 8.
    """
    return {key: getattr(attack, key, value) for key, value in numbers.items()}


class Described(NamedTuple):
    """What a user must know to write an attack: its summary, what it needs of a detector, its
    numbers with defaults.

    ``severities`` is how many severities it has, 0 for none.
    """

    summary: str
    access: str
    numbers: dict[str, Any]
    severities: int


def numbers_of(name: str) -> Described:
    """Describe the registered attack called ``name``. Raises ``UnknownNameError``."""
    cls = attacks.get(name)
    paragraph = " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
    summary = paragraph.partition(". ")[0].replace("``", "").removesuffix(".")
    numbers = {field.name: _default(field) for field in dataclasses.fields(cls)}
    severities = cls.severities if issubclass(cls, Perturbation) else {}
    return Described(summary, cls.access, numbers, len(next(iter(severities.values()), ())))


def _default(field: "dataclasses.Field[Any]") -> Any:
    return (
        field.default
        if field.default is not dataclasses.MISSING
        else cast("Any", field).default_factory()
    )


def _class_of(name: str, numbers: Mapping[str, Any]) -> type[Attack]:
    """The registered class, or that of another library's attack, which is imported only when asked
    for.
    """
    library, _, kind = name.partition(":")
    if library not in ADAPTERS:
        return attacks.get(name)
    adapter = importlib.import_module(ADAPTERS[library])
    return cast(
        "type[Attack]",
        adapter.attack_class(kind, str(numbers["norm"]) if "norm" in numbers else None),
    )


def _severity(cls: type[Attack], name: str, severity: int) -> dict[str, Any]:
    table = cls.severities if issubclass(cls, Perturbation) else {}
    if not table:
        raise ConfigError(
            f"{name} has no severities, got severity {severity!r}. Give its own numbers instead."
        )
    try:
        place = int(SEVERITY_LEVEL.read(severity, "severity", name))
    except ValueError as error:
        raise ConfigError(
            f"{name} wants a severity of 1 (mildest) to {SEVERITY_LEVEL.most}, got {severity!r}."
            f" Write severity = 3, or its own numbers: {', '.join(table)}."
        ) from error
    return {number: values[place - 1] for number, values in table.items()}
