"""Parts of a verdict, as they are printed and written as JSON."""

from typing import Literal

from pydantic import BaseModel

Verdict = Literal["real", "AI-generated", "unsure"]
Label = Literal["real", "AI-generated"]


class Reason(BaseModel, frozen=True):
    """Why a verdict is unsure.

    Attributes:
        kind: one word or a few.
        message: in a sentence.
    """

    kind: Literal["outside", "flips", "near the threshold", "fresh weights"]
    message: str


class Delivery(BaseModel, frozen=True):
    """The image after one delivery.

    Attributes:
        delivery: name of the delivery.
        verdict: on the delivered image.
        probability: of AI-generated: the sigmoid of logit minus threshold.
        logit: of the detector.
    """

    delivery: str
    verdict: Label
    probability: float
    logit: float


class Spread(BaseModel, frozen=True):
    """Range of the verdicts over all deliveries.

    Attributes:
        lowest: probability of AI-generated.
        highest: probability of AI-generated.
        real: number of deliveries with the verdict "real".
        fake: number of deliveries with the verdict "AI-generated".
    """

    lowest: float
    highest: float
    real: int
    fake: int


class Judgement(BaseModel, frozen=True):
    """Verdict of one detector on one image.

    Attributes:
        image: where it was read from.
        size: width and height, in pixels.
        detector: name on its card.
        verdict: "unsure" where there are ``reasons`` against ``leaning``.
        leaning: the verdict on the image as it is.
        reasons: why the verdict is unsure.
        notes: facts about the image, and what is unknown of the detector.
        confidence: in ``leaning``, 0.5 to 1.
        probability: of AI-generated, 0 to 1.
        logit: of the image as it is.
        threshold: of the detector.
        margin: logit minus threshold.
        spread: over the image as it is and as delivered.
        deliveries: the image as it is, then as delivered.
        weights: of the detector, as on its card.
        trained_on: images that the detector was trained on, as on its card.
        trained_size: smallest and largest side of those images, in pixels; None if unknown.
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
