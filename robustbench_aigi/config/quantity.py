"""Quantities: unit and range of a number, and hints on values out of range.

:mod:`~robustbench_aigi.config.units` has the table of them.
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
from typing import Annotated, Any, Union, cast

from pydantic_core import CoreSchema, core_schema

from robustbench_aigi.config.relative_size import WHITE_LEVEL, RelativeSize, SizeUnit
from robustbench_aigi.errors import ConfigError

FRACTION_PATTERN = re.compile(r"\s*(\d+(?:\.\d*)?)\s*/\s*255(?:\.0*)?\s*")
"""Text such as ``8/255``: grey levels, as a share of the full range."""
MAX_VALUE = 80
"""Characters of a faulty value that are shown."""

Hint = Callable[[str, float], str]
"""From name and value of a number to a sentence on what was probably meant; empty if unknown."""


def no_hint(name: str, value: float) -> str:
    """Return an empty text, for any ``name`` and ``value``."""
    return ""


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """Unit and range of a number.

    Declare it by the type of a field, such as ``eps: Annotated[float, Quantity(...)] = 8``.
    Pydantic models check such fields by themselves, dataclasses by :func:`read_fields`.

    Attributes:
        unit: in words, as it stands after the number; empty for a pure number.
        least: lower end of the range.
        most: upper end of the range.
        above: exclude the lower end.
        below: exclude the upper end.
        zero: accept 0 below ``least``: an attack that changes nothing, as a control.
        whole: whole numbers only.
        white: units from black to white, for a size that may be written as ``"8/255"``; None for
            other numbers.
        hint: what a value out of range probably means.
        reach: from height and width of an image to the largest value that makes a difference; None
            if there is no such value.
        per_pixel: the unit of a size that may be given per pixel, as text such as ``"4 rms"``.

    Example:
        >>> Quantity(unit="grey levels", least=1, most=255).range
        '1 to 255 grey levels'
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
    per_pixel: SizeUnit | None = None

    @property
    def range(self) -> str:
        """The range in words, with its unit."""
        text = ("0, or " if self.zero else "") + self._bounds
        return f"{text} {self.unit}" if self.unit else text

    @property
    def _bounds(self) -> str:
        if math.isinf(self.least):
            return "any finite number"
        lower = f"above {self.least:.3g}" if self.above else f"{self.least:.3g}"
        if math.isfinite(self.most):
            return f"{lower} to below {self.most:g}" if self.below else f"{lower} to {self.most:g}"
        return lower if self.above else f"{lower} or more"

    def read(self, given: object, name: str, wants: str) -> int | float | RelativeSize:
        """Return a given value as a number of Python, or as a size per pixel.

        Args:
            given: a number of Python or NumPy; for a size in grey levels also text such as
                ``"8/255"``, and for one per pixel text such as ``"4 rms"`` or ``"0.1%"``.
            name: of the number, for the hint.
            wants: beginning of the message, such as ``"pgd-linf wants eps of"``.

        Raises:
            ValueError: it is of another type, not finite, or out of range.
        """
        if (relative := self._relative(given)) is not None:
            return relative
        number = self._number(given)
        if number is None:
            kind = "int" if self.whole else "float"
            shown = repr(given)[:MAX_VALUE]
            form = self._form(given, name)
            raise ValueError(f"{wants} type {kind} ({self.range}), got {shown}. {form}".rstrip())
        if not self._holds(number):
            if isinstance(given, str):
                raise ValueError(f"{wants} {self.range}, got {given!r}.")
            hint = self.hint(name, number)
            raise ValueError(f"{wants} {self.range}, got {number!r}. {hint}".rstrip())
        return number

    def _relative(self, given: object) -> RelativeSize | None:
        """Return the size per pixel; None for anything else."""
        if self.per_pixel is None:
            return None
        if isinstance(given, str):
            return self.per_pixel.parse(given)
        is_own = isinstance(given, RelativeSize) and given.unit == self.per_pixel
        return cast("RelativeSize", given) if is_own else None

    def _number(self, given: object) -> int | float | None:
        """Return the number in Python's own type; None for anything else."""
        if isinstance(given, str):
            return self._parsed(given)
        if isinstance(given, bool) or not isinstance(given, Real):
            return None
        if isinstance(given, Integral):
            return int(given)
        return None if self.whole else float(given)

    def _parsed(self, text: str) -> int | float | None:
        """Return the number in a text such as ``8/255``; None for any other text."""
        found = FRACTION_PATTERN.fullmatch(text)
        if found is None or self.white is None:
            return None
        number = float(found[1]) * self.white / WHITE_LEVEL
        return int(number) if number.is_integer() else number

    def _form(self, given: object, name: str) -> str:
        """Return what to write instead of something that is not a number, or not a whole one."""
        if isinstance(given, Real) and not isinstance(given, bool):
            number = float(given)
            if number.is_integer():
                return f"Write {name} = {number:.0f}."
            return self.hint(name, number)
        forms = ["a number"]
        if self.white is not None:
            forms.append(f'text such as {name} = "8/255"')
        if self.per_pixel is not None:
            example = RelativeSize(self.per_pixel.example, self.per_pixel)
            forms.append(f'a size per pixel such as {name} = "{example}"')
        return "" if len(forms) == 1 else f"Write {', or '.join(forms)}."

    def _holds(self, number: float) -> bool:
        if isinstance(number, float) and not math.isfinite(number):
            return False
        inside = self.least <= number <= self.most
        at_open_end = (self.above and number == self.least) or (self.below and number == self.most)
        return (inside and not at_open_end) or (self.zero and number == 0)

    def __get_pydantic_core_schema__(
        self, source: Any, handler: Callable[[Any], CoreSchema]
    ) -> CoreSchema:
        def check(given: object, info: core_schema.ValidationInfo) -> int | float | RelativeSize:
            return self.read(given, str(info.field_name), "wants")

        return core_schema.with_info_before_validator_function(check, handler(source))


ANY_FLOAT = Quantity()
"""Quantity of a field that is declared as ``float``."""
ANY_INT = Quantity(whole=True)
"""Quantity of a field that is declared as ``int``."""


def quantity_of(annotation: Any) -> Quantity | None:
    """Return the quantity that a field's type declares; None if it is not a number.

    Args:
        annotation: type of the field.

    Example:
        >>> quantity_of(int | None).whole
        True
    """
    if typing.get_origin(annotation) is Annotated:
        return next((data for data in annotation.__metadata__ if isinstance(data, Quantity)), None)
    if typing.get_origin(annotation) in (Union, types.UnionType):
        return next(filter(None, map(quantity_of, typing.get_args(annotation))), None)
    return {int: ANY_INT, float: ANY_FLOAT}.get(annotation)


def quantities(cls: type) -> Mapping[str, Quantity]:
    """Return the quantities of the numbers of a dataclass ``cls``, by field."""
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
    """Check the numbers of a frozen dataclass, and replace texts and NumPy's numbers by Python's.

    A number whose default is None may be None.

    Args:
        instance: of the dataclass, changed in place.
        owner: name of the dataclass, to begin the message with.

    Raises:
        ConfigError: see :meth:`Quantity.read`.
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
    """Check that no number is larger than any change of an image.

    Args:
        instance: of a dataclass.
        owner: name of the dataclass, to begin the message with.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Raises:
        ConfigError: a number is larger.
    """
    for name, quantity in quantities(type(instance)).items():
        most = quantity.reach(height, width) if quantity.reach else math.inf
        value = getattr(instance, name)
        if value is not None and float(value) > most:
            raise ConfigError(
                f"{owner} wants {name} of {most:.4g} {quantity.unit} at most for images of {height}"
                f" x {width} pixels, got {value!r}. {quantity.hint(name, value)}".rstrip()
            )
