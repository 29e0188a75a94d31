"""Sizes of a change that are given per pixel, and hold at any image size."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, TypeVar

from robustbench_aigi.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

T = TypeVar("T", bound="DataclassInstance")
WHITE_LEVEL = 255
"""Grey levels from black to white in an 8-bit image."""


@dataclass(frozen=True)
class SizeUnit:
    """A unit of a size per pixel.

    Attributes:
        suffix: what stands after the amount.
        most: largest amount.
        example: an amount that messages show.
        absolute: from amount, height and width to the size of the whole image's change.
    """

    suffix: str
    most: float
    example: float
    absolute: Callable[[float, int, int], float]

    def parse(self, text: str) -> "RelativeSize | None":
        """Return the size in ``text``; None where it is something else.

        Args:
            text: an amount and the suffix, such as ``"4 rms"``.
        """
        found = re.fullmatch(rf"\s*(\d+(?:\.\d*)?)\s*{re.escape(self.suffix)}\s*", text)
        if found is None or not 0 < float(found[1]) <= self.most:
            return None
        return RelativeSize(float(found[1]), self)


def l2_of_rms(levels: float, height: int, width: int) -> float:
    """Return the L2 norm over pixels in [0, 1] of a change.

    Args:
        levels: root mean square of the change of a value, in grey levels.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Example:
        >>> round(l2_of_rms(4.6, 32, 32), 3)  # the budget that is usual at 32 x 32
        1.0
    """
    return levels / WHITE_LEVEL * math.sqrt(3 * height * width)


def pixels_of_share(percent: float, height: int, width: int) -> int:
    """Return a number of pixels, 1 at least.

    Args:
        percent: of the image's pixels.
        height: of the image, in pixels.
        width: of the image, in pixels.

    Example:
        >>> pixels_of_share(0.1, 256, 256)
        66
    """
    return max(1, round(percent / 100 * height * width))


RMS_LEVELS = SizeUnit("rms", WHITE_LEVEL, 4, l2_of_rms)
PIXEL_PERCENT = SizeUnit("%", 100, 0.1, pixels_of_share)


@dataclass(frozen=True)
class RelativeSize:
    """A size per pixel, which :meth:`at` turns into that of a whole image's change.

    It has no number of its own: code that would use it as one gets an error, no wrong result.

    Attributes:
        amount: in ``unit``.
        unit: see :data:`RMS_LEVELS` and :data:`PIXEL_PERCENT`.
    """

    amount: float
    unit: SizeUnit

    def at(self, height: int, width: int) -> float:
        """Return the size of a change of an image.

        Args:
            height: of the image, in pixels.
            width: of the image, in pixels.
        """
        return self.unit.absolute(self.amount, height, width)

    def __str__(self) -> str:
        space = "" if self.unit.suffix == "%" else " "
        return f"{self.amount:g}{space}{self.unit.suffix}"

    def __repr__(self) -> str:
        return repr(str(self))

    def __format__(self, spec: str) -> str:
        return str(self)

    def __lt__(self, other: "RelativeSize | float") -> bool:
        return (
            isinstance(other, RelativeSize)
            and self.unit == other.unit
            and self.amount < other.amount
        )

    def __gt__(self, other: "RelativeSize | float") -> bool:
        return isinstance(other, RelativeSize) and other < self

    def __float__(self) -> float:
        raise ConfigError(
            f"{self} depends on the size of the image. Ask the attack for its numbers at a size:"
            " attack.at_size(height, width)."
        )

    def __int__(self) -> int:
        return int(float(self))


def resolve_sizes(instance: T, height: int, width: int) -> T:
    """Return a dataclass with its sizes per pixel turned into those of an image's change.

    Args:
        instance: of the dataclass.
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    absolute = {
        field.name: value.at(height, width)
        for field in fields(instance)
        if isinstance(value := getattr(instance, field.name), RelativeSize)
    }
    return replace(instance, **absolute) if absolute else instance
