"""Table of the quantities of numbers in attacks, suites, recipes, trainings and policies.

Declare a number by its type, such as ``eps: LinfRadius = 8``: see
:class:`~robustbench_aigi.config.quantity.Quantity`.
"""

import math
from dataclasses import replace
from typing import Annotated

from robustbench_aigi.config.quantity import Quantity
from robustbench_aigi.config.relative_size import (
    PIXEL_PERCENT,
    RMS_LEVELS,
    WHITE_LEVEL,
    RelativeSize,
)


def hint_levels(name: str, value: float) -> str:
    """Explain a number of grey levels below 1: it is probably on the [0, 1] scale.

    Args:
        name: of the number.
        value: out of range.

    Example:
        >>> hint_levels("eps", 8 / 255)
        'eps = 0.03137 is below one grey level; on the [0, 1] scale 8/255 is eps = 8.'
    """
    if not 0 < value < 1:
        return ""
    levels = round(value * WHITE_LEVEL)
    if levels == 0:
        return f"{name} = {value:.4g} is below one grey level, so no image would change."
    return (
        f"{name} = {value:.4g} is below one grey level; on the [0, 1] scale {levels}/255 is"
        f" {name} = {levels}."
    )


def hint_norm(name: str, value: float) -> str:
    """Explain an L2 size that changes nothing, or that is larger than any change.

    Args:
        name: of the number.
        value: out of range.
    """
    if 0 < value < 1 / WHITE_LEVEL:
        return (
            f"{name} = {value:.4g} cannot change one value by one grey level; 128/255 is {name} ="
            " 0.502."
        )
    if value > 1:
        return f"Of grey levels, {value:g}/255 is {name} = {value / WHITE_LEVEL:.3g}."
    return ""


def hint_share(name: str, value: float) -> str:
    """Explain a percentage where a share is expected.

    Args:
        name: of the number.
        value: out of range.
    """
    if 2 <= value <= 100:
        return f"{name} is a share; {value:g} probably means {value / 100:.2f}."
    return ""


def hint_factor(name: str, value: float) -> str:
    """Explain a percentage where a factor is expected.

    Args:
        name: of the number.
        value: out of range.
    """
    if 2 <= value <= 1000:
        return f"{name} is no percentage; {value:g} probably means {value / 100:.2f}."
    return ""


def hint_quality(name: str, value: float) -> str:
    """Explain a share where a quality is expected.

    Args:
        name: of the number.
        value: out of range.
    """
    if 0.005 < value < 1:
        return f"{name} is 1 to 100; {value:g} probably means {round(100 * value)}."
    return ""


def max_l2(height: int, width: int) -> float:
    """Return the L2 distance from a black to a white image, over pixels in [0, 1].

    Args:
        height: in pixels.
        width: in pixels.
    """
    return math.sqrt(3 * height * width)


def share_of(most: float = 1, least: float = 0) -> Quantity:
    """Return the quantity of a share.

    Args:
        most: upper end of the range.
        least: lower end of the range.
    """
    return Quantity(least=least, most=most, hint=hint_share)


def count_of(least: int = 1, most: float = math.inf, unit: str = "") -> Quantity:
    """Return the quantity of a whole number.

    Args:
        least: lower end of the range.
        most: upper end of the range.
        unit: in words.
    """
    return Quantity(least=least, most=most, whole=True, unit=unit)


GREY_LEVELS = Quantity(
    unit="grey levels", least=1, most=WHITE_LEVEL, white=WHITE_LEVEL, hint=hint_levels
)
L2_NORM = Quantity(
    unit="in the L2 norm over pixels in [0, 1]",
    least=1 / WHITE_LEVEL,
    white=1,
    hint=hint_norm,
    reach=max_l2,
    per_pixel=RMS_LEVELS,
)
ANY_SHARE = share_of()
JPEG_QUALITY = Quantity(least=1, most=100, whole=True, hint=hint_quality)
SEVERITY_LEVEL = Quantity(least=1, most=5, whole=True)
PASSES_PER_IMAGE = Quantity(unit="passes per image", least=0)
ANY_NUMBER = Quantity()

# Sizes of a change
LinfRadius = Annotated[float, replace(GREY_LEVELS, zero=True)]
"""Maximum change of a value, or an amplitude; of 2.5 levels, 8-bit images reach 2."""
LinfStep = Annotated[float, GREY_LEVELS]
"""A step, or a radius above 0; rounding would undo a step of less than one level."""
UnroundedStep = Annotated[float, replace(GREY_LEVELS, least=0.1)]
"""A step of an attack that rounds once, at its end."""
L2Radius = Annotated[float | RelativeSize, replace(L2_NORM, zero=True)]
"""The norm of a whole image's change, or per pixel, as ``"4 rms"``: grey levels RMS."""
L2Step = Annotated[float | RelativeSize, L2_NORM]
PixelCount = Annotated[
    int | RelativeSize,
    replace(
        count_of(unit="pixels"),
        reach=lambda height, width: height * width,
        per_pixel=PIXEL_PERCENT,
    ),
]
"""A number of pixels, or a share of the image's, as ``"0.1%"``."""

# What is spent
Count = Annotated[int, count_of()]
"""Steps, restarts, epochs, images."""
CountOrNone = Annotated[int, count_of(0)]
"""A count that may be 0."""
PairCount = Annotated[int, count_of(2)]
QueryCount = Annotated[int, count_of(unit="queries per image")]
DrawCount = Annotated[int, count_of(most=1000)]
Population = Annotated[int, count_of(4)]
Rounds = Annotated[int, count_of(most=100)]

# Shares and factors
Share = Annotated[float, ANY_SHARE]
PositiveShare = Annotated[float, replace(ANY_SHARE, above=True)]
PartialShare = Annotated[float, replace(ANY_SHARE, below=True)]
AreaShare = Annotated[float, share_of(least=1e-4)]
CutShare = Annotated[float, share_of(most=0.95)]
ScaleShare = Annotated[float, share_of(least=0.05)]
NoiseShare = Annotated[float, share_of(least=0.01)]
"""Of a noise schedule."""
LatentNoise = Annotated[float, Quantity(least=0, most=10, hint=hint_factor)]
"""Of a latent's standard deviation."""
Aberration = Annotated[float, share_of(most=0.1)]
Factor = Annotated[float, Quantity(least=0, most=10, hint=hint_factor)]
Zoom = Annotated[float, Quantity(least=0.05, most=8, hint=hint_factor)]

ImageSide = Annotated[int, count_of(8, 4096, "pixels")]
"""Height and width of training images."""

# Codecs, lenses, screens, spectra
Quality = Annotated[int, JPEG_QUALITY]
QualityOrZero = Annotated[int, replace(JPEG_QUALITY, least=0)]
BlurSigma = Annotated[float, Quantity(unit="pixels", least=0.1, most=1000, zero=True)]
ScreenOffset = Annotated[float, Quantity(unit="screen pixels", least=0, most=8)]
Gamma = Annotated[float, Quantity(least=0.1, most=10)]
SpectralSlope = Annotated[float, Quantity(least=0, most=4)]
WellCharge = Annotated[float, Quantity(unit="electrons", least=1, most=1e12)]
ReadNoise = Annotated[float, Quantity(unit="electrons", least=0, most=1e6)]

# Trainings
Rate = Annotated[float, Quantity(least=0, most=10, above=True)]
"""Of learning, for a loss that is a mean over the batch."""
Weight = Annotated[float, Quantity(least=0)]
"""Of a term of a loss, or of the decay; 0 leaves it out."""
PositiveWeight = Annotated[float, Quantity(least=0, above=True)]

# Without a unit of ours
Number = Annotated[float, ANY_NUMBER]
WholeNumber = Annotated[int, Quantity(whole=True)]
