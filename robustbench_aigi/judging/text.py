"""Verdicts as text for people, and as JSON values for programs."""

from typing import Any

from robustbench_aigi.judging.images import Skipped
from robustbench_aigi.judging.models import Judgement


def to_text(judgement: Judgement) -> str:
    """Return a ``judgement`` in lines: the verdict, why it is unsure, and all deliveries."""
    j = judgement
    trained_on = j.trained_on or "images that its card does not state"
    lines = [
        f"{j.image}: {headline(j)} (logit {j.logit:.3f}, threshold {j.threshold:.3f}), by"
        f" {j.detector}",
        f"  loaded: {j.detector}, {j.weights}, trained on {trained_on}",
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
    """Return the verdict of a ``judgement`` with its confidence, and why it is unsure."""
    if judgement.verdict != "unsure":
        return f"{judgement.verdict}, confidence {judgement.confidence:.1%}"
    short = {"outside": "outside what it learnt", "flips": "flips when delivered"}
    why = ", ".join(short.get(reason.kind, reason.kind) for reason in judgement.reasons)
    return f"unsure ({why}), leaning to {judgement.leaning} with {judgement.confidence:.1%}"


def to_json(judgement: Judgement | Skipped) -> dict[str, Any]:
    """Return a ``judgement``, or why there is none, as JSON values."""
    if isinstance(judgement, Skipped):
        return judgement._asdict()
    return judgement.model_dump(mode="json")
