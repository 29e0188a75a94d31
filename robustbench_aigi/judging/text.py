"""A verdict in words for people, and as JSON values for programs."""

from typing import Any

from robustbench_aigi.judging.images import Skipped
from robustbench_aigi.judging.models import Judgement


def to_text(judgement: Judgement) -> str:
    """Return the verdict in a line, why it is unsure, and a table of the deliveries."""
    j = judgement
    lines = [
        (
            f"{j.image}: {headline(j)} (logit {j.logit:.3f}, threshold {j.threshold:.3f}), by"
            f" {j.detector}"
        ),
        (
            f"  loaded: {j.detector}, {j.weights}, trained on"
            f" {j.trained_on or 'images that its card does not state'}"
        ),
    ]
    lines += [f"  unsure: {reason.message}" for reason in j.reasons]
    lines += [f"  note: {note}" for note in j.notes]
    lines.append(
        f"  probability of AI-generated: {j.spread.lowest:.1%} to {j.spread.highest:.1%} over"
        f" {len(j.deliveries)} deliveries; verdicts: {j.spread.real} real, {j.spread.fake}"
        " AI-generated"
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
    return (
        judgement._asdict() if isinstance(judgement, Skipped) else judgement.model_dump(mode="json")
    )
