"""Makes a class of each attack of another library, with its constructor's parameters as fields."""

import dataclasses
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Any, cast

from robustbench_aigi.attacks.base import Norm
from robustbench_aigi.attacks.external.third_party import NORM_BALLS, ThirdParty
from robustbench_aigi.attacks.external.traits import (
    COUNT_PARAMETERS,
    DEFAULT_BUDGETS,
    AttackTraits,
)
from robustbench_aigi.config.units import Count, Number, PixelCount
from robustbench_aigi.errors import ConfigError, UnavailableError, UnknownNameError


def names(base: type[ThirdParty]) -> list[str]:
    """Return a library's attacks that can attack a detector; none where it is not installed.

    Args:
        base: the class of the library's attacks.
    """
    try:
        sources = base.sources()
    except UnavailableError:
        return []
    return sorted(
        f"{base.library}:{kind}"
        for kind in sources
        if base.table.get(kind, AttackTraits()).unsupported is None
    )


def attack_class(base: type[ThirdParty], kind: str, norm: str | None) -> type[ThirdParty]:
    """Return the class of one attack.

    Args:
        base: the class of the library's attacks.
        kind: the attack's name in the library.
        norm: what the user wrote for the parameter ``norm``, if anything.

    Raises:
        UnknownNameError: the library has no such attack.
        ConfigError: it cannot attack a detector.
        UnavailableError: the library is not installed.
    """
    sources = base.sources()
    if kind not in sources:
        raise UnknownNameError(
            f"no attack called '{base.library}:{kind}'. {_near_misses(base, kind, list(sources))}"
        )
    traits = _traits_of(base, kind)
    if traits.unsupported is not None:
        raise ConfigError(f"{base.library}:{kind} cannot attack a detector: {traits.unsupported}.")
    if "any" not in (traits.norm, traits.minimises):
        return _made(base, kind, None)
    chosen = _default_norm(base, sources[kind]) if norm is None else norm.lower()
    if chosen not in NORM_BALLS:
        raise ConfigError(
            f'{base.library}:{kind}: norm must be "linf" or "l2", got {norm!r}. Write'
            ' norm = "linf".'
        )
    return _made(base, kind, chosen)


def _near_misses(base: type[ThirdParty], kind: str, known: list[str]) -> str:
    """Return the names that the user may have meant, or all of them."""
    near = get_close_matches(kind.lower(), {name.lower() for name in known}, n=3)
    if near:
        hint = [f"{base.library}:{name}" for name in known if name.lower() in near]
        return f"Did you mean {' or '.join(hint)}?"
    return f"Known: {', '.join(names(base))}."


def _default_norm(base: type[ThirdParty], source: type) -> str:
    """Return our name of the norm that a constructor takes by default."""
    default = inspect.signature(source).parameters["norm"].default
    return next(name for name, spelt in base.spelling.items() if spelt == default)


def _traits_of(base: type[ThirdParty], kind: str) -> AttackTraits:
    """Return the traits in the table, or what the constructor's parameters imply."""
    parameters = inspect.signature(base.sources()[kind]).parameters
    if kind in base.table:
        return base.table[kind]
    if "norm" in parameters:
        return AttackTraits(norm="any")
    return AttackTraits(norm="linf" if "eps" in parameters else None)


@dataclass(frozen=True)
class ParameterSpec:
    """A parameter of an attack's constructor, as a field of its class.

    Attributes:
        name: as in the constructor.
        type: in our unit where the parameter has one, else the library's own.
        default: likewise.
    """

    name: str
    type: Any
    default: bool | int | float | str


@cache
def _made(base: type[ThirdParty], kind: str, norm: str | None) -> type[ThirdParty]:
    """Return one class per attack and chosen norm, so that attacks with equal fields are equal."""
    source = base.sources()[kind]
    traits = _with_norm(_traits_of(base, kind), cast("Norm | None", norm))
    defaults = _defaults(source, traits, norm)
    specs = [
        ParameterSpec(name, _type_of(traits, name, default), default)
        for name, default in defaults.items()
        if name not in base.fixed
    ]
    made = dataclasses.make_dataclass(
        kind,
        [(spec.name, spec.type, dataclasses.field(default=spec.default)) for spec in specs],
        bases=(base,),
        namespace={
            "kind": kind,
            "source": source,
            "traits": traits,
            "access": traits.access,
            "minimises": traits.minimises,
            "__doc__": f"{kind} of {base.library}.",
            "__module__": base.__module__,
        },
        frozen=True,
        kw_only=True,
    )
    return cast("type[ThirdParty]", made)


def _with_norm(traits: AttackTraits, norm: Norm | None) -> AttackTraits:
    """Return the traits with the chosen norm instead of "any"."""
    if traits.norm == "any":
        traits = dataclasses.replace(traits, norm=norm)
    if traits.minimises == "any":
        traits = dataclasses.replace(traits, minimises=norm)
    return traits


def _defaults(source: type, traits: AttackTraits, norm: str | None) -> Mapping[str, Any]:
    """Return parameters and defaults: the library's, then ours in place of some of them."""
    defaults = dict(_constructor_defaults(source))
    for name, (_, default) in DEFAULT_BUDGETS.get(traits.norm or "", {}).items():
        if name in defaults:
            defaults[name] = default
    if norm is not None:
        defaults["norm"] = norm
    return defaults | dict(traits.defaults)


def _constructor_defaults(source: type) -> Iterator[tuple[str, Any]]:
    """Yield the parameters of a constructor whose default is a number, a word or a boolean."""
    for name, parameter in inspect.signature(source).parameters.items():
        if isinstance(parameter.default, bool | int | float | str):
            yield name, parameter.default


def _type_of(traits: AttackTraits, name: str, default: float | str) -> Any:
    """Return the declared type of a parameter."""
    if isinstance(default, bool | str):
        return type(default)
    if traits.norm == "l0" and name == traits.size:
        return PixelCount
    sizes = DEFAULT_BUDGETS.get(traits.norm or "", {})
    if name in sizes:
        return sizes[name][0]
    return Count if name in COUNT_PARAMETERS else Number
