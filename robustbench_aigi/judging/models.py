"""What a verdict consists of."""

from typing import Literal

from pydantic import BaseModel

Verdict = Literal["real", "AI-generated", "unsure"]
Label = Literal["real", "AI-generated"]


class Reason(BaseModel, frozen=True):
    """Why a verdict is unsure."""

    kind: Literal["outside", "flips", "near the threshold", "fresh weights"]
    message: str


class Delivery(BaseModel, frozen=True):
    """The image after one delivery: ``probability`` of AI-generated, by the sigmoid of logit minus
    threshold.
    """

    delivery: str
    verdict: Label
    probability: float
    logit: float


class Spread(BaseModel, frozen=True):
    """Lowest and highest probability of AI-generated over all deliveries, and how many gave each
    verdict.
    """

    lowest: float
    highest: float
    real: int
    fake: int


class Judgement(BaseModel, frozen=True):
    """What one detector makes of one image.

    Attributes:
        image: where it was read from. size: width and height in pixels.
        verdict: unsure where any of ``reasons`` speaks against ``leaning``, the verdict on the
            image as it is.
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
