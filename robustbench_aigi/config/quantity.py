"""What a number counts: its unit, its range, and what a value out of range probably means.
``units`` has the table.
"""

import math
import re
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from numbers import Integral, Real
from types import MappingProxyType
from typing import Annotated, Any, Union

from pydantic_core import CoreSchema, core_schema

from robustbench_aigi.errors import ConfigError

WHITE_LEVEL = 255
"""Grey levels from black to white in an 8-bit image."""
FRACTION = re.compile(r"\s*(\d+(?:\.\d*)?)\s*/\s*255(?:\.0*)?\s*")
"""Text such as ``8/255``: grey levels, as a share of the full range."""

Hint = Callable[[str, float], str]
"""Name and value of a number out of range to a sentence on what was probably meant; empty if that
is not known.
"""


def no_hint(name: str, value: float) -> str:
    """Return no sentence."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What a number counts. Declare it by the type of a field: ``eps: Annotated[float,
    Quantity(...)] = 8``.

    Pydantic models check such fields by themselves, dataclasses by :func:`read_fields`.

    Attributes:
        unit: in words, as it stands after the number; empty for a pure number.
        least, most: the range, both ends in it; ``above`` leaves the lower end out, ``below`` the
            upper one.
        zero: 0 is taken too, below ``least``: an attack that changes nothing, as a control.
        whole: whole numbers only.
        white: how many there are from black to white, for a size that may be written as text,
            ``"8/255"``.
        hint: what a value out of range probably means.
        reach: height and width of an image to the largest value that makes a difference to it, if
            there is one.
    """

    unit: str = ""
    least: float = -math.inf
    most: float = math.inf
    above: bool = False
    below: bool = False
    zero: bool = False
    whole: bool = False
    white: float | None = None
    hint: Hint = no_hint
    reach: Callable[[int, int], float] | None = None

    @property
    def range(self) -> str:
        """The range in words, with its unit."""
        if math.isinf(self.least):
            text = "any finite number"
        else:
            text = f"{'above ' if self.above else ''}{self.least:.3g}"
            if math.isfinite(self.most):
                text += f" to {'below ' if self.below else ''}{self.most:g}"
            elif not self.above:
                text += " or more"
        return ("0, or " if self.zero else "") + text + (f" {self.unit}" if self.unit else "")

    def read(self, given: object, name: str, wants: str) -> int | float:
        """Return the number that was given, as a Python one.

        Args:
            given: a number of Python or NumPy; for the size of a change also text such as
                ``"8/255"``.
            name: of the number, for the hint. wants: how the message begins, such as ``"pgd-linf
                wants eps of"``.

        Raises:
            ValueError: it is of another type, not finite, or out of range.
        """
        number = self._number(given)
        if number is None:
            kind = f"type {'int' if self.whole else 'float'} ({self.range})"
            raise ValueError(
                f"{wants} {kind}, got {repr(given)[:80]}. {self._form(given, name)}".rstrip()
            )
        if not self._holds(number):
            shown, hint = (
                (repr(given), "")
                if isinstance(given, str)
                else (f"{number!r}", self.hint(name, number))
            )
            raise ValueError(f"{wants} {self.range}, got {shown}. {hint}".rstrip())
        return number

    def _number(self, given: object) -> int | float | None:
        """The number in Python's own type; None for anything else."""
        if (
            isinstance(given, str)
            and self.white is not None
            and (found := FRACTION.fullmatch(given))
        ):
            number = float(found[1]) * self.white / WHITE_LEVEL
            return int(number) if number.is_integer() else number
        if isinstance(given, bool) or not isinstance(given, Real):
            return None
        if isinstance(given, Integral):
            return int(given)
        return None if self.whole else float(given)

    def _form(self, given: object, name: str) -> str:
        """What to write in the place of something that is no number, or no whole one."""
        if isinstance(given, Real) and not isinstance(given, bool):
            number = float(given)
            return (
                f"Write {name} = {number:.0f}." if number.is_integer() else self.hint(name, number)
            )
        return (
            f'Write a number, or text such as {name} = "8/255".' if self.white is not None else ""
        )

    def _holds(self, number: float) -> bool:
        if isinstance(number, float) and not math.isfinite(number):
            return False
        inside = self.least <= number <= self.most
        at_open_end = (self.above and number == self.least) or (self.below and number == self.most)
        return (inside and not at_open_end) or (self.zero and number == 0)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: Callable[[Any], CoreSchema]
    ) -> CoreSchema:
        def check(given: object, info: core_schema.ValidationInfo) -> int | float:
            return self.read(given, str(info.field_name), "wants")

        return core_schema.with_info_before_validator_function(check, handler(source))


NUMBER, WHOLE = Quantity(), Quantity(whole=True)
"""Of numbers that are declared as ``float`` or ``int`` and no more."""


def quantity_of(annotation: Any) -> Quantity | None:
    """Return the quantity that a field's type declares; None for what is no number."""
    if typing.get_origin(annotation) is Annotated:
        return next((data for data in annotation.__metadata__ if isinstance(data, Quantity)), None)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return next(filter(None, map(quantity_of, typing.get_args(annotation))), None)
    return {int: WHOLE, float: NUMBER}.get(annotation)


def quantities(cls: type) -> Mapping[str, Quantity]:
    """Return the quantities of a dataclass's numbers by field."""
    return _quantities(cls)


@cache
def _quantities(cls: Any) -> Mapping[str, Quantity]:
    known = {field.name: field.type for field in fields(cls)}
    if any(isinstance(annotation, str) for annotation in known.values()):
        known |= {
            name: kind
            for name, kind in typing.get_type_hints(cls, None, None, True).items()
            if name in known
        }
    found = {name: quantity_of(annotation) for name, annotation in known.items()}
    return MappingProxyType(
        {name: quantity for name, quantity in found.items() if quantity is not None}
    )


def read_fields(instance: Any, owner: str) -> None:
    """Check the numbers of a frozen dataclass, and put plain ones in the place of text and of
    NumPy's.

    Args:
        owner: what the dataclass is, to begin the message with.

    Raises:
        ConfigError: see :meth:`Quantity.read`. A number whose default is None may be None.
    """
    known = quantities(type(instance))
    for field in fields(instance):
        given = getattr(instance, field.name)
        if field.name not in known or (given is None and field.default is None):
            continue
        try:
            number = known[field.name].read(given, field.name, f"{owner} wants {field.name} of")
        except ValueError as error:
            raise ConfigError(str(error)) from error
        object.__setattr__(instance, field.name, number)


def check_reach(instance: Any, owner: str, height: int, width: int) -> None:
    """Raise ``ConfigError`` if a number is larger than any change of an image of that size."""
    for name, quantity in quantities(type(instance)).items():
        most = quantity.reach(height, width) if quantity.reach else math.inf
        value = getattr(instance, name)
        if value is not None and value > most:
            raise ConfigError(
                f"{owner} wants {name} of {most:.4g} {quantity.unit} at most for images of {height}"
                f" x {width} pixels, got {value!r}. {quantity.hint(name, value)}".rstrip()
            )
