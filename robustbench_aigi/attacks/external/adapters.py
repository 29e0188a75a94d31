"""Makes a class of each attack of another library, with the numbers of its constructor as
fields.
"""

import dataclasses
import inspect
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, cast

from robustbench_aigi.attacks.external.third_party import (
    BALLS,
    COUNTS,
    DEFAULT_BUDGETS,
    AttackTraits,
    ThirdParty,
)
from robustbench_aigi.config.units import Count, Number, PixelCount
from robustbench_aigi.errors import ConfigError, UnavailableError, UnknownNameError


def names(base: type[ThirdParty]) -> list[str]:
    """All of a library's attacks that can attack a detector; none where it is not installed."""
    try:
        sources = base.sources()
    except UnavailableError:
        return []
    return sorted(
        f"{base.library}:{kind}"
        for kind in sources
        if not base.table.get(kind, AttackTraits()).refuse
    )


def attack_class(base: type[ThirdParty], kind: str, norm: str | None) -> type[ThirdParty]:
    """The class of one attack; ``norm`` is what the user writes for the number of that name, if
    any.

    Raises:
        UnknownNameError: the library has no such attack. ConfigError: it cannot attack a detector.
            UnavailableError: no library.
    """
    sources = base.sources()
    if kind not in sources:
        near = get_close_matches(kind.lower(), {name.lower() for name in sources}, n=3)
        hint = [f"{base.library}:{name}" for name in sources if name.lower() in near]
        told = f"Did you mean {' or '.join(hint)}?" if hint else f"Known: {', '.join(names(base))}."
        raise UnknownNameError(f"no attack called '{base.library}:{kind}'. {told}")
    known = _known(base, kind)
    if known.refuse:
        raise ConfigError(f"{base.library}:{kind} cannot attack a detector: {known.refuse}.")
    if "any" not in (known.norm, known.minimises):
        return _made(base, kind, "")
    default = inspect.signature(sources[kind]).parameters["norm"].default
    chosen = (
        next(name for name, spelt in base.spelling.items() if spelt == default)
        if norm is None
        else norm.lower()
    )
    if chosen not in BALLS:
        raise ConfigError(f"{base.library}:{kind} wants norm of linf or l2, got {norm!r}.")
    return _made(base, kind, chosen)


def _known(base: type[ThirdParty], kind: str) -> AttackTraits:
    """What the table says; for those it leaves out, the norm that the constructor's parameters
    tell.
    """
    parameters = inspect.signature(base.sources()[kind]).parameters
    norm: Literal["any", "linf", ""] = (
        "any" if "norm" in parameters else "linf" if "eps" in parameters else ""
    )
    return base.table.get(kind, AttackTraits(norm=norm))


@cache
def _made(base: type[ThirdParty], kind: str, norm: str) -> type[ThirdParty]:
    """One class for each attack and chosen norm, so that attacks with the same numbers are
    equal.
    """
    source, known = base.sources()[kind], _known(base, kind)
    choice = {field: norm for field in ("norm", "minimises") if getattr(known, field) == "any"}
    known = dataclasses.replace(known, **cast("Any", choice))
    parameters = inspect.signature(source).parameters
    numbers = {
        key: p.default
        for key, p in parameters.items()
        if isinstance(p.default, bool | int | float | str)
    }
    numbers |= {
        key: value
        for key, (_, value) in DEFAULT_BUDGETS.get(known.norm, {}).items()
        if key in numbers
    }
    numbers |= {"norm": norm} if choice else {}
    numbers = {
        key: value for key, value in {**numbers, **known.numbers}.items() if key not in base.fixed
    }
    fields = [
        (key, _type(known, key, value), dataclasses.field(default=value))
        for key, value in numbers.items()
    ]
    told = {
        "kind": kind,
        "source": source,
        "known": known,
        "access": known.access,
        "minimises": known.minimises,
    }
    told |= {"__doc__": f"{kind} of {base.library}.", "__module__": base.__module__}
    made = dataclasses.make_dataclass(
        kind, fields, bases=(base,), namespace=told, frozen=True, kw_only=True
    )
    return cast("type[ThirdParty]", made)


def _type(known: AttackTraits, name: str, default: float | str) -> Any:
    """The declared type of a number: in our unit where it has one, else in the library's own."""
    if isinstance(default, bool | str):
        return type(default)
    if known.norm == "l0" and name == known.size:
        return PixelCount
    kind, _ = DEFAULT_BUDGETS.get(known.norm, {}).get(
        name, (Count if name in COUNTS else Number, default)
    )
    return kind
