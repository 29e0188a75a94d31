"""The card of a detector: its sources, licences, and what its numbers depend on."""

from typing import Literal

from pydantic import BaseModel

FRESH_WEIGHTS = "fresh"
GIVEN_WEIGHTS = "given by the user"
TRAINED_HERE = "trained in this process"
"""Values of ``Card.weights`` for weights that come from no file and no hub."""

OWN_CODE = "MIT"
NO_WEIGHTS = "none: no weights are shipped"
FROM_SCRATCH = "none: trained from scratch"
UNKNOWN_LICENCE = "unknown"
"""A licence that nobody has stated; it is never cleared for commercial use."""


class Card(BaseModel, frozen=True, extra="forbid"):
    """Facts that a user needs before trusting the numbers of a detector.

    Attributes:
        name: name in reports.
        source: paper, hub id or file that the detector comes from.
        summary: one line on the network.
        code_licence: licence of the code.
        weights_licence: licence of the trained weights.
        base_licence: licence of the weights that training started from.
        commercial: whether all licences permit commercial use; False unless the detector's author
            states it.
        input_size: side in pixels of what the network sees.
        resize: how an image is brought to that size.
        orientation: which sign of the logit means AI-generated.
        gradient: ``full``, ``eot`` if stochastic, ``bpda`` if a step has no gradient of its own,
            ``none`` for a black box.
        stochastic: whether the same image can get different logits.
        threshold: a logit; above it an image is called AI-generated.
        score_step: smallest step between two scores on the probability scale; 0 if none was seen,
            1 if it returns verdicts only.
        cam: dotted name of the module whose feature map Grad-CAM weighs.
        published: results that its authors, or the study that used it, reported.
        weights: origin of the weights; ``fresh`` only where nothing was trained.
        trained_on: name of the training data.
        trained_size: smallest and largest side in pixels of the training images; None if unknown.
        seen: names of the attacks met in training.
    """

    name: str
    source: str
    summary: str = ""
    code_licence: str = UNKNOWN_LICENCE
    weights_licence: str = UNKNOWN_LICENCE
    base_licence: str = UNKNOWN_LICENCE
    commercial: bool = False
    input_size: int = 32
    resize: str = "bilinear with antialiasing to the input size, inside the detector"
    orientation: str = "logit > threshold means AI-generated"
    gradient: Literal["full", "eot", "bpda", "none"] = "full"
    stochastic: bool = False
    threshold: float = 0.0
    score_step: float = 0.0
    cam: str = ""
    published: str = ""
    weights: str = GIVEN_WEIGHTS
    trained_on: str = ""
    trained_size: tuple[int, int] | None = None
    seen: tuple[str, ...] = ()
