"""What speaks against a verdict: measured facts about the image, and what the detector's card
states.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from robustbench_aigi.detectors import Card, Detector
from robustbench_aigi.judging.models import Delivery, Reason

UNSURE_LOGIT = math.log(0.6 / 0.4)
"""Nearer to the threshold than this, a verdict is unsure: a probability below 0.6 is nearly the
toss of a coin.
"""
FEW_COLOURS = 256
"""Distinct colours up to which an image is reported to have few: photographs of 128 x 128 pixels
have thousands.
"""


def reasons_against(
    detector: Detector, deliveries: Sequence[Delivery], size: tuple[int, int]
) -> Iterator[Reason]:
    """Yield what speaks against the verdict on the image as it is."""
    card, own = detector.card, deliveries[0]
    if (
        card.weights == "fresh"
        and _is_ours(detector)
        and any(p.requires_grad for p in _trained(detector))
    ):
        yield Reason(
            kind="fresh weights",
            message=f"{card.name} has fresh weights: it has not learnt anything",
        )
    if message := _outside(card, size):
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
    """Whether ``weights`` of its card is kept by this project; a user's own class may load weights
    and not say so.
    """
    return type(detector).__module__.partition(".")[0] == __name__.partition(".")[0]


def _trained(detector: Detector) -> Iterator[torch.nn.Parameter]:
    return detector.parts_to_train().parameters()


def _outside(card: Card, size: tuple[int, int]) -> str:
    """How the image differs in size from those that the detector learnt from; empty if it does not,
    or none knows.
    """
    if card.trained_size is None:
        return ""
    (least, most), (width, height) = card.trained_size, size
    if least <= min(size) and max(size) <= most:
        return ""
    learnt = f"{least} x {least}" if least == most else f"{least} to {most}"
    sets = " and ".join(
        dict.fromkeys(part.partition(",")[0] for part in card.trained_on.split("; then "))
    )
    images = f"images of {learnt} pixels" + (f" ({sets})" if sets else "")
    ratio = max(size) / most if max(size) > most else least / min(size)
    way = "reduced" if max(size) > most else "enlarged"
    return (
        f"outside what it learnt: {images}; this image is {width} x {height}, to be {way}"
        f" {ratio:.3g} times"
    )


def notes_on(card: Card, pixels: Tensor) -> Iterator[str]:
    """Yield facts that a reader of the verdict needs: what is not known of the detector, and what
    the image is.
    """
    if card.trained_size is None:
        yield "the detector's card does not state what sizes of images it learnt from"
    if not card.trained_on:
        yield "the detector's card does not state what images it learnt from"
    if bool((pixels[0] == pixels[1]).all() and (pixels[1] == pixels[2]).all()):
        yield "the image is grey: its three channels are equal"
    colours = len(torch.unique(_packed(pixels)))
    if colours <= FEW_COLOURS < pixels[0].numel() // 64:
        yield f"the image has only {colours} colours"
    longest, shortest = max(pixels.shape[1:]), min(pixels.shape[1:])
    if longest > 2 * shortest and card.input_size:
        yield f"the image is {longest / shortest:.3g} times as long as it is wide"


def _packed(pixels: Tensor) -> Tensor:
    """Each pixel as one integer."""
    weights = torch.tensor([65536, 256, 1], dtype=torch.int32).view(3, 1, 1)
    return (pixels.to(torch.int32) * weights).sum(dim=0)
