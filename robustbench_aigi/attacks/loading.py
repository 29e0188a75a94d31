"""Attacks by name, with their parameters checked."""

import dataclasses
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from robustbench_aigi.attacks.base import Attack, attacks
from robustbench_aigi.attacks.perturbation import Perturbation
from robustbench_aigi.config.relative_size import RelativeSize
from robustbench_aigi.config.units import SEVERITY_LEVEL
from robustbench_aigi.errors import ConfigError
from robustbench_aigi.registry import unknown

ADAPTER_MODULES: Mapping[str, str] = MappingProxyType(
    {kind: f"robustbench_aigi.attacks.external.{kind}" for kind in ("torchattacks", "art")}
)
"""Prefix of a name to the module that adapts that library's attacks."""


def load_attack(name: str, *, severity: int | None = None, **numbers: Any) -> Attack:
    """Build an attack by name.

    Args:
        name: a registered name, ``torchattacks:NAME``, ``art:NAME`` or ``module:Class``.
        severity: 1 (mildest) to 5, for a perturbation that has severities.
        numbers: parameters of the attack, which take precedence over the severity's. L-inf sizes
            are in grey levels, L2 sizes in the norm over pixels in [0, 1]; either may be text,
            ``eps="8/255"``.

    Raises:
        UnknownNameError: there is no such attack.
        ConfigError: the attack does not have a parameter, or it is of the wrong type or out of
            range.

    Example:
        >>> load_attack("fgsm", eps=4)
        FGSM(eps=4)
        >>> load_attack("jpeg", severity=3)
        JPEG(quality=60)
    """
    cls = _class_of(name, numbers)
    if severity is not None:
        numbers = {**_numbers_at(cls, name, severity), **numbers}
    known = sorted(field.name for field in dataclasses.fields(cls))
    for key in numbers:
        if key not in known:
            raise ConfigError(unknown(f"parameter of {name}", key, known))
    return cls(**numbers)


def plain_numbers(attack: Attack, numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that an attack was built with, converted from text.

    Sizes per pixel stay text, such as ``"4 rms"``.

    Args:
        attack: what was built.
        numbers: as the user wrote them, such as ``{"eps": "8/255"}``.

    Example:
        >>> plain_numbers(load_attack("fgsm", eps="8/255"), {"eps": "8/255"})
        {'eps': 8}
    """
    plain = {key: getattr(attack, key, value) for key, value in numbers.items()}
    return {
        key: str(value) if isinstance(value, RelativeSize) else value
        for key, value in plain.items()
    }


class AttackDescription(NamedTuple):
    """What a user must know to write an attack.

    Attributes:
        summary: one sentence.
        access: what it needs of a detector.
        numbers: its parameters with their defaults.
        severities: number of severities it has, 0 for none.
    """

    summary: str
    access: str
    numbers: dict[str, Any]
    severities: int


def describe_attack(name: str) -> AttackDescription:
    """Describe a registered attack.

    Args:
        name: of the attack.

    Raises:
        UnknownNameError: there is no such attack.
    """
    cls = attacks.get(name)
    paragraph = " ".join((cls.__doc__ or "").partition("\n\n")[0].split())
    summary = paragraph.partition(". ")[0].replace("``", "").removesuffix(".")
    numbers = {field.name: _default(field) for field in dataclasses.fields(cls)}
    severities = next(iter(_severities(cls).values()), ())
    return AttackDescription(summary, cls.access, numbers, len(severities))


def _default(field: "dataclasses.Field[Any]") -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    return cast("Any", field).default_factory()


def _severities(cls: type[Attack]) -> Mapping[str, tuple[Any, ...]]:
    return cls.severities if issubclass(cls, Perturbation) else {}


def _class_of(name: str, numbers: Mapping[str, Any]) -> type[Attack]:
    """Return the registered class, or that of another library, imported only when asked for."""
    library, _, kind = name.partition(":")
    if library not in ADAPTER_MODULES:
        return attacks.get(name)
    adapter = importlib.import_module(ADAPTER_MODULES[library])
    norm = str(numbers["norm"]) if "norm" in numbers else None
    return cast("type[Attack]", adapter.attack_class(kind, norm))


def _numbers_at(cls: type[Attack], name: str, severity: int) -> dict[str, Any]:
    """Return the parameters of a severity, or raise ``ConfigError``."""
    table = _severities(cls)
    if not table:
        raise ConfigError(
            f"{name} has no severities, got severity {severity!r}. Give its own parameters instead."
        )
    try:
        index = int(SEVERITY_LEVEL.read(severity, "severity", name)) - 1
    except ValueError as error:
        raise ConfigError(
            f"{name} wants a severity of 1 (mildest) to {SEVERITY_LEVEL.most}, got {severity!r}."
            f" Write severity = 3, or its own parameters: {', '.join(table)}."
        ) from error
    return {number: values[index] for number, values in table.items()}
