"""Verdicts on single images: what a detector makes of an image, how far that can be trusted, and why not.

An image travels before it is judged: it is saved again, resized, cropped, captured from a screen. A verdict that such a
delivery turns, or that an image unlike those the detector learnt from gets, is ``unsure``.
"""

import math
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from pydantic import BaseModel
from torch import Tensor

from robustbench_aigi.attacks import Perturbation, load_attack
from robustbench_aigi.data.images import UnreadableImage, decode
from robustbench_aigi.data.sources.folders import image_files
from robustbench_aigi.detectors import Card, Detector
from robustbench_aigi.errors import BadData, BadLogits
from robustbench_aigi.grid import from_bytes

Verdict = Literal["real", "AI-generated", "unsure"]
Label = Literal["real", "AI-generated"]
AS_IT_IS = "as it is"
DELIVERIES = MappingProxyType(
    {
        "JPEG, quality 90": ("jpeg", {"quality": 90}),
        "JPEG, quality 50": ("jpeg", {"quality": 50}),
        "WebP, quality 75": ("webp", {"quality": 75}),
        "resized to half and back": ("resize", {"scale": 0.5}),
        "cropped by a tenth": ("crop", {"cut": 0.1, "fill": "stretch"}),
        "screenshot": ("screenshot", {"severity": 3}),
    }
)
"""Name of a delivery to its perturbation with its numbers; each is applied to the image at its own size."""
UNSURE_LOGIT = math.log(0.6 / 0.4)
"""Nearer to the threshold than this, a verdict is unsure: a probability below 0.6 is nearly the toss of a coin."""
FEW_COLOURS = 256
"""Distinct colours up to which an image is reported to have few: photographs of 128 x 128 pixels have thousands."""


class Reason(BaseModel, frozen=True):
    """Why a verdict is unsure."""

    kind: Literal["outside", "flips", "near the threshold", "fresh weights"]
    message: str


class Delivery(BaseModel, frozen=True):
    """The image after one delivery: ``probability`` of AI-generated, by the sigmoid of logit minus threshold."""

    delivery: str
    verdict: Label
    probability: float
    logit: float


class Spread(BaseModel, frozen=True):
    """Lowest and highest probability of AI-generated over all deliveries, and how many gave each verdict."""

    lowest: float
    highest: float
    real: int
    fake: int


class Judgement(BaseModel, frozen=True):
    """What one detector makes of one image.

    Attributes:
        image: where it was read from. size: width and height in pixels.
        verdict: unsure where any of ``reasons`` speaks against ``leaning``, the verdict on the image as it is.
        confidence: of ``leaning``, 0.5 to 1. probability: of AI-generated, 0 to 1.
        margin: logit minus threshold. spread, deliveries: over the image as it is and as delivered.
        notes: facts about the image, and what is not known of the detector.
        trained_on, trained_size: what the detector's card says of the images that it learnt from.
    """

    image: str
    size: tuple[int, int]
    detector: str
    verdict: Verdict
    leaning: Label
    reasons: tuple[Reason, ...]
    notes: tuple[str, ...]
    confidence: float
    probability: float
    logit: float
    threshold: float
    margin: float
    spread: Spread
    deliveries: tuple[Delivery, ...]
    weights: str
    trained_on: str
    trained_size: tuple[int, int] | None


class Skipped(NamedTuple):
    """An image that was not judged, and why."""

    image: str
    error: str


def find_images(places: Sequence[Path]) -> Iterator[Path | Skipped]:
    """Yield files as they are given, and of each folder all images in it and below.

    Raises:
        BadData: a place is not there, or a folder has no image.
    """
    for place in places:
        if place.is_file():
            yield place
        elif place.is_dir():
            found = list(image_files(place))
            if not found:
                raise BadData(f"{place} holds no image. Give the path of an image, or of a folder of images.")
            for _, path, fault in found:
                yield Skipped(str(path), fault) if fault else path
        else:
            raise BadData(f"no file at {place}. Give the path of an image, or of a folder of images.")


def read_image(path: Path) -> Tensor:
    """Decode an image file to uint8 ``(3, H, W)``. Raises ``BadData`` with the reason."""
    try:
        return decode(path.read_bytes())
    except OSError as error:
        raise BadData(f"{path} cannot be read: {error.strerror}. Give the path of an image.") from error
    except UnreadableImage as reason:
        raise BadData(f"{path} cannot be judged: {reason}. Give an 8-bit RGB image without transparency.") from reason


def judge(pixels: Tensor, detector: Detector, image: str = "") -> Judgement:
    """Judge one image, as it is and after each of :data:`DELIVERIES`.

    Args:
        pixels: uint8 ``(3, H, W)``.
        image: what to call it.

    Raises:
        BadLogits: the detector gives no finite logit for it. BadData: its network cannot take an image of this size.
    """
    card, threshold = detector.card, detector.threshold
    deliveries = tuple(_delivered(name, pixels, detector, image) for name in (AS_IT_IS, *DELIVERIES))
    own, height, width = deliveries[0], pixels.shape[1], pixels.shape[2]
    reasons = tuple(_reasons(detector, deliveries, (width, height)))
    probabilities = [one.probability for one in deliveries]
    fake = sum(one.verdict == "AI-generated" for one in deliveries)
    return Judgement(
        image=image,
        size=(width, height),
        detector=card.name,
        verdict="unsure" if reasons else own.verdict,
        leaning=own.verdict,
        reasons=reasons,
        notes=(*detector.notes, *_notes(card, pixels)),
        confidence=max(own.probability, 1 - own.probability),
        probability=own.probability,
        logit=own.logit,
        threshold=threshold,
        margin=own.logit - threshold,
        spread=Spread(lowest=min(probabilities), highest=max(probabilities), real=len(deliveries) - fake, fake=fake),
        deliveries=deliveries,
        weights=card.weights,
        trained_on=card.trained_on,
        trained_size=card.trained_size,
    )


@cache
def _perturbation(delivery: str) -> Perturbation:
    name, numbers = DELIVERIES[delivery]
    made = load_attack(name, **numbers)
    if not isinstance(made, Perturbation):
        raise TypeError(f"{name} asks a detector; a delivery must be a perturbation")
    return made


def _delivered(name: str, pixels: Tensor, detector: Detector, image: str) -> Delivery:
    """Judge the image after one delivery; what it draws at random depends on nothing but the delivery."""
    batch = pixels[None]
    arrived = batch if name == AS_IT_IS else _perturbation(name).apply(batch, ["detect"])
    try:
        with torch.no_grad():
            logit = float(detector.logits(from_bytes(arrived)).reshape(-1)[0])
    except RuntimeError as error:  # of torch: a network that is made for larger images, or for one size
        size = f"{pixels.shape[2]} x {pixels.shape[1]}"
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise BadData(
            f"{detector.card.name} cannot judge {image}, of {size} pixels: {reason}. Give a larger image, or another "
            "--detector."
        ) from error
    if not math.isfinite(logit):
        raise BadLogits(
            f"{detector.card.name} gave {logit} for {image}. Check its weights, or give another --detector."
        )
    margin = logit - detector.threshold
    probability = 1 / (1 + math.exp(-margin)) if margin >= 0 else 1 - 1 / (1 + math.exp(margin))
    verdict: Label = "AI-generated" if margin > 0 else "real"
    return Delivery(delivery=name, verdict=verdict, probability=probability, logit=logit)


def _reasons(detector: Detector, deliveries: Sequence[Delivery], size: tuple[int, int]) -> Iterator[Reason]:
    """Yield what speaks against the verdict on the image as it is."""
    card, own = detector.card, deliveries[0]
    if card.weights == "fresh" and _is_ours(detector) and any(p.requires_grad for p in _trained(detector)):
        yield Reason(kind="fresh weights", message=f"{card.name} has fresh weights: it has not learnt anything")
    if message := _outside(card, size):
        yield Reason(kind="outside", message=message)
    if turned := [one.delivery for one in deliveries if one.verdict != own.verdict]:
        yield Reason(kind="flips", message=f"the verdict flips when the image is delivered: {', '.join(turned)}")
    near = [one.delivery for one in deliveries if abs(one.logit - detector.threshold) < UNSURE_LOGIT]
    if near:
        yield Reason(kind="near the threshold", message=f"the probability is between 40% and 60%: {', '.join(near)}")


def _is_ours(detector: Detector) -> bool:
    """Whether ``weights`` of its card is kept by this project; a user's own class may load weights and not say so."""
    return type(detector).__module__.partition(".")[0] == __name__.partition(".")[0]


def _trained(detector: Detector) -> Iterator[torch.nn.Parameter]:
    return detector.parts_to_train().parameters()


def _outside(card: Card, size: tuple[int, int]) -> str:
    """How the image differs in size from those that the detector learnt from; empty if it does not, or none knows."""
    if card.trained_size is None:
        return ""
    (least, most), (width, height) = card.trained_size, size
    if least <= min(size) and max(size) <= most:
        return ""
    learnt = f"{least} x {least}" if least == most else f"{least} to {most}"
    sets = " and ".join(dict.fromkeys(part.partition(",")[0] for part in card.trained_on.split("; then ")))
    images = f"images of {learnt} pixels" + (f" ({sets})" if sets else "")
    ratio = max(size) / most if max(size) > most else least / min(size)
    way = "reduced" if max(size) > most else "enlarged"
    return f"outside what it learnt: {images}; this image is {width} x {height}, to be {way} {ratio:.3g} times"


def _notes(card: Card, pixels: Tensor) -> Iterator[str]:
    """Yield facts that a reader of the verdict needs: what is not known of the detector, and what the image is."""
    if card.trained_size is None:
        yield "the detector's card does not state what sizes of images it learnt from"
    if not card.trained_on:
        yield "the detector's card does not state what images it learnt from"
    if bool((pixels[0] == pixels[1]).all() and (pixels[1] == pixels[2]).all()):
        yield "the image is grey: its three channels are equal"
    colours = len(torch.unique(_packed(pixels)))
    if colours <= FEW_COLOURS < pixels[0].numel() // 64:
        yield f"the image has {colours} colours: a drawing or a palette rather than a photograph"
    longest, shortest = max(pixels.shape[1:]), min(pixels.shape[1:])
    if longest > 2 * shortest and card.input_size:
        yield f"the image is {longest / shortest:.3g} times as long as it is wide"


def _packed(pixels: Tensor) -> Tensor:
    """Each pixel as one integer."""
    red, green, blue = pixels.to(torch.int32)
    return (red * 256 + green) * 256 + blue


def to_text(judgement: Judgement) -> str:
    """Return the verdict in a line, why it is unsure, and a table of the deliveries."""
    j = judgement
    lines = [
        f"{j.image}: {headline(j)} (logit {j.logit:.3f}, threshold {j.threshold:.3f}), by {j.detector}",
        f"  loaded: {j.detector}, {j.weights}, trained on {j.trained_on or 'images that its card does not state'}",
    ]
    lines += [f"  unsure: {reason.message}" for reason in j.reasons]
    lines += [f"  note: {note}" for note in j.notes]
    lines.append(
        f"  probability of AI-generated: {j.spread.lowest:.1%} to {j.spread.highest:.1%} over {len(j.deliveries)} "
        f"deliveries; verdicts: {j.spread.real} real, {j.spread.fake} AI-generated"
    )
    lines += [f"    {d.delivery:26}{d.probability:>7.1%}  {d.verdict}" for d in j.deliveries]
    return "\n".join(lines)


def headline(judgement: Judgement) -> str:
    """Return the verdict with its confidence; an unsure one with why, and what it leans to."""
    if judgement.verdict != "unsure":
        return f"{judgement.verdict}, confidence {judgement.confidence:.1%}"
    short = {"outside": "outside what it learnt", "flips": "flips when delivered"}
    why = ", ".join(short.get(reason.kind, reason.kind) for reason in judgement.reasons)
    return f"unsure ({why}), leaning to {judgement.leaning} with {judgement.confidence:.1%}"


def to_json(judgement: Judgement | Skipped) -> dict[str, Any]:
    """Return all of it as JSON values."""
    return judgement._asdict() if isinstance(judgement, Skipped) else judgement.model_dump(mode="json")
