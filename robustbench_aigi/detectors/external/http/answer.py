"""Reading an endpoint's answer: the number or the word at a path, checked against its scale."""

import math
import sys
from typing import Any, Literal

from robustbench_aigi.detectors.external.http.path import MAX_SHOWN_CHARACTERS, values_at
from robustbench_aigi.detectors.external.http.spec import Scale, Verdict
from robustbench_aigi.errors import LogitsError

SCALE_RANGES: dict[Scale, tuple[float, float]] = {
    "probability": (0.0, 1.0),
    "percent": (0.0, 100.0),
    "logit": (-math.inf, math.inf),
}
"""Lowest and highest number of each scale."""
ROUNDING_MARGIN = 1e-6
"""How far a sum of rounded shares may be outside its range, as a share of the range."""


def number_at(answer: Any, path: str, who: str) -> float:
    """Return the number at a path of a JSON value, the sum where the path names several labels.

    Args:
        answer: a JSON value.
        path: of the number.
        who: the detector's name, for messages.

    Raises:
        LogitsError: it is missing, of another type, NaN or infinite.

    Example:
        >>> number_at({"result": {"score": 0.25}}, "result.score", "mine")
        0.25
    """
    values = values_at(answer, path, who)
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise LogitsError(
                f"{path!r} in the answer of {who} is {type(value).__name__}, no number. Write"
                " another path; for words, a table of verdicts."
            )
        if not -sys.float_info.max <= value <= sys.float_info.max:
            raise LogitsError(
                f"{path!r} in the answer of {who} is NaN or infinite. Ask the service why."
            )
    return float(sum(values))


def checked_number(value: float, scale: Scale, who: str) -> float:
    """Return a score that its scale allows.

    Args:
        value: as the service gave it.
        scale: of the score.
        who: the detector's name, for messages.

    Raises:
        LogitsError: it is outside the scale; the message names the scale that would allow it.

    Example:
        >>> checked_number(1.0000001, "probability", "mine")
        1.0
    """
    lowest, highest = SCALE_RANGES[scale]
    if lowest <= value <= highest:
        return value
    if lowest - ROUNDING_MARGIN <= value <= highest + ROUNDING_MARGIN * highest:
        return min(max(value, lowest), highest)
    likely = "percent" if 0 <= value <= 100 else "logit"
    plural = "percentages" if likely == "percent" else "logits"
    kind = "no probability" if scale == "probability" else "no percentage"
    raise LogitsError(
        f"{who} gave {value:g}, which is {kind}. If it gives {plural}, write scale='{likely}'."
    )


def verdict_at(answer: Any, path: str, verdicts: dict[str, Verdict], who: str) -> Verdict:
    """Return what the word at a path means.

    Args:
        answer: a JSON value.
        path: of the word.
        verdicts: meanings by word.
        who: the detector's name, for messages.

    Raises:
        LogitsError: the table does not have the word.
    """
    word, *more = values_at(answer, path, who)
    text = str(word).lower() if isinstance(word, bool) else word
    if more or not isinstance(text, str) or text not in verdicts:
        shown = type(word).__name__
        if isinstance(text, str):
            shown = repr(text)[:MAX_SHOWN_CHARACTERS]
        raise LogitsError(
            f"{path!r} in the answer of {who} is {shown}, and the verdicts known are"
            f" {', '.join(verdicts)}. Add it to the table: 1 for AI-generated, 0 for real, or"
            ' "abstain".'
        )
    return verdicts[text]


def label_without_verdict(abstain_as: Literal["real", "fake", "error"], who: str) -> Literal[0, 1]:
    """Return the label of an image on which a service gave no verdict.

    Args:
        abstain_as: what it counts as.
        who: the detector's name, for messages.

    Raises:
        LogitsError: it is to end the row.
    """
    if abstain_as == "error":
        raise LogitsError(
            f"{who} gave no verdict on an image. Write abstain_as='real' to count it as not"
            " recognised."
        )
    return 1 if abstain_as == "fake" else 0
