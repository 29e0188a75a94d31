"""Reasons against a verdict: measured facts about the image, and the detector's card."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robustbench_aigi.detectors import Card, Detector
from robustbench_aigi.detectors.base import FRESH_WEIGHTS
from robustbench_aigi.judging.models import Delivery, Reason

UNSURE_LOGIT = math.log(0.6 / 0.4)
"""Distance from the threshold below which a verdict is unsure: a probability of 40% to 60%."""
FEW_COLOURS = 256
"""Colours up to which an image is reported to have few: photographs of 128 x 128 have thousands."""
COLOUR_PIXELS = 64
"""Pixels per colour, above which an image with few colours is reported."""
ELONGATED_RATIO = 2
"""Ratio of the sides above which an image is reported to be long."""


def reasons_against(
    detector: Detector, deliveries: Sequence[Delivery], size: tuple[int, int]
) -> Iterator[Reason]:
    """Yield the reasons against the verdict on the image as it is.

    Args:
        detector: that judged it.
        deliveries: the image as it is, then as delivered.
        size: width and height, in pixels.
    """
    card = detector.card
    own = deliveries[0]
    if card.weights == FRESH_WEIGHTS and _is_ours(detector) and _has_weights(detector):
        yield Reason(
            kind="fresh weights",
            message=f"{card.name} has fresh weights: it has not learnt anything",
        )
    message = _size_difference(card, size)
    if message is not None:
        yield Reason(kind="outside", message=message)
    if turned := [one.delivery for one in deliveries if one.verdict != own.verdict]:
        yield Reason(
            kind="flips",
            message=f"the verdict flips when the image is delivered: {', '.join(turned)}",
        )
    near = [
        one.delivery for one in deliveries if abs(one.logit - detector.threshold) < UNSURE_LOGIT
    ]
    if near:
        yield Reason(
            kind="near the threshold",
            message=f"the probability is between 40% and 60%: {', '.join(near)}",
        )


def _is_ours(detector: Detector) -> bool:
    """Return whether the class is of this package: others may load weights without a note."""
    return type(detector).__module__.partition(".")[0] == __name__.partition(".")[0]


def _has_weights(detector: Detector) -> bool:
    return any(part.requires_grad for part in detector.parts_to_train().parameters())


def _size_difference(card: Card, size: tuple[int, int]) -> str | None:
    """Return how an image's size differs from those in training; None if it does not."""
    if card.trained_size is None:
        return None
    least, most = card.trained_size
    width, height = size
    if least <= min(size) and max(size) <= most:
        return None
    learnt = f"{least} x {least}" if least == most else f"{least} to {most}"
    sets = " and ".join(
        dict.fromkeys(part.partition(",")[0] for part in card.trained_on.split("; then "))
    )
    images = f"images of {learnt} pixels" + (f" ({sets})" if sets else "")
    if max(size) > most:
        change = f"reduced {max(size) / most:.3g} times"
    else:
        change = f"enlarged {least / min(size):.3g} times"
    return f"outside what it learnt: {images}; this image is {width} x {height}, to be {change}"


def notes_on(card: Card, pixels: Tensor) -> Iterator[str]:
    """Yield facts that a reader of the verdict needs, about the detector and the image.

    Args:
        card: of the detector.
        pixels: uint8 ``(3, H, W)``.
    """
    if card.trained_size is None:
        yield "the detector's card does not state what sizes of images it learnt from"
    if not card.trained_on:
        yield "the detector's card does not state what images it learnt from"
    if bool((pixels[0] == pixels[1]).all() and (pixels[1] == pixels[2]).all()):
        yield "the image is grey: its three channels are equal"
    colours = len(torch.unique(_packed(pixels)))
    if colours <= FEW_COLOURS < pixels[0].numel() // COLOUR_PIXELS:
        yield f"the image has only {colours} colours"
    longest = max(pixels.shape[1:])
    shortest = min(pixels.shape[1:])
    if longest > ELONGATED_RATIO * shortest and card.input_size:
        yield f"the image is {longest / shortest:.3g} times as long as it is wide"


def _packed(pixels: Tensor) -> Tensor:
    """Return each pixel as one integer, ``(H, W)``."""
    weights = torch.tensor([65536, 256, 1], dtype=torch.int32).view(3, 1, 1)
    return (pixels.to(torch.int32) * weights).sum(dim=0)
