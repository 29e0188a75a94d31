"""Verdicts on single images, with the reasons not to trust them.

An image is delivered before it is judged: it is saved again, resized, cropped, captured from a
screen. The verdict is ``unsure`` where such a delivery changes it, or where the image is unlike
those that the detector was trained on.
"""

import math
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from robustbench_aigi.attacks import Perturbation, load_attack
from robustbench_aigi.detectors import Detector
from robustbench_aigi.errors import DataError, LogitsError
from robustbench_aigi.imaging.pixels import from_bytes
from robustbench_aigi.judging.doubts import notes_on, reasons_against
from robustbench_aigi.judging.models import Delivery, Judgement, Label, Spread

AS_IT_IS = "as it is"
"""Name of the delivery that changes nothing."""
DELIVERY_ATTACKS: Mapping[str, tuple[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "JPEG, quality 90": ("jpeg", {"quality": 90}),
        "JPEG, quality 50": ("jpeg", {"quality": 50}),
        "WebP, quality 75": ("webp", {"quality": 75}),
        "resized to half and back": ("resize", {"scale": 0.5}),
        "cropped by a tenth": ("crop", {"cut": 0.1, "fill": "stretch"}),
        "screenshot": ("screenshot", {"severity": 3}),
    }
)
"""Name of a delivery to its perturbation, with its numbers; images keep their size."""


def judge(pixels: Tensor, detector: Detector, image: str = "") -> Judgement:
    """Judge one image, as it is and after each of :data:`DELIVERY_ATTACKS`.

    Args:
        pixels: uint8 ``(3, H, W)``.
        detector: in evaluation mode.
        image: its name, for the result and for messages.

    Raises:
        LogitsError: the detector's logit is NaN or infinite.
        DataError: the detector cannot take an image of this size.
    """
    card = detector.card
    threshold = detector.threshold
    deliveries = tuple(
        _delivered(name, pixels, detector, image) for name in (AS_IT_IS, *DELIVERY_ATTACKS)
    )
    own = deliveries[0]
    height, width = pixels.shape[1:]
    reasons = tuple(reasons_against(detector, deliveries, (width, height)))
    probabilities = [one.probability for one in deliveries]
    fake = sum(one.verdict == "AI-generated" for one in deliveries)
    return Judgement(
        image=image,
        size=(width, height),
        detector=card.name,
        verdict="unsure" if reasons else own.verdict,
        leaning=own.verdict,
        reasons=reasons,
        notes=(*detector.notes, *notes_on(card, pixels)),
        confidence=max(own.probability, 1 - own.probability),
        probability=own.probability,
        logit=own.logit,
        threshold=threshold,
        margin=own.logit - threshold,
        spread=Spread(
            lowest=min(probabilities),
            highest=max(probabilities),
            real=len(deliveries) - fake,
            fake=fake,
        ),
        deliveries=deliveries,
        weights=card.weights,
        trained_on=card.trained_on,
        trained_size=card.trained_size,
    )


@cache
def _perturbation(delivery: str) -> Perturbation:
    name, numbers = DELIVERY_ATTACKS[delivery]
    attack = load_attack(name, **numbers)
    if not isinstance(attack, Perturbation):
        raise TypeError(f"a delivery must be a perturbation, got {name}, which asks a detector")
    return attack


def _delivered(name: str, pixels: Tensor, detector: Detector, image: str) -> Delivery:
    """Judge the image after one delivery, whose random draws depend on nothing but itself."""
    batch = pixels[None]
    arrived = batch if name == AS_IT_IS else _perturbation(name).apply(batch, ["detect"])
    try:
        with torch.no_grad():
            logit = float(detector.logits(from_bytes(arrived)).reshape(-1)[0])
    except RuntimeError as error:  # of torch, in a network for larger images or for one size
        size = f"{pixels.shape[2]} x {pixels.shape[1]}"
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise DataError(
            f"{detector.card.name} cannot judge {image}, of {size} pixels: {reason}. Give a larger"
            " image, or another --detector."
        ) from error
    if not math.isfinite(logit):
        raise LogitsError(
            f"{detector.card.name} gave {logit} for {image}. Check its weights, or give another"
            " --detector."
        )
    margin = logit - detector.threshold
    verdict: Label = "AI-generated" if margin > 0 else "real"
    return Delivery(delivery=name, verdict=verdict, probability=_probability(margin), logit=logit)


def _probability(margin: float) -> float:
    """Return the sigmoid of a margin, without an overflow."""
    if margin >= 0:
        return 1 / (1 + math.exp(-margin))
    return 1 - 1 / (1 + math.exp(margin))
