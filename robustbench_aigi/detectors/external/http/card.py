"""The card of an endpoint's detector, and logits of its scores."""

from typing import Any

import torch
from torch import Tensor

from robustbench_aigi.detectors.external.http.answer import checked_number
from robustbench_aigi.detectors.external.http.path import parse_path
from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.detectors.external.http.template import uses
from robustbench_aigi.detectors.external.http.url import checked_url
from robustbench_aigi.detectors.external.outputs import slug, to_binary_logit
from robustbench_aigi.errors import UserError


def score_logits(values: Tensor, spec: EndpointSpec, who: str) -> Tensor:
    """Return the logits of an endpoint's scores; +1 and -1 of verdicts.

    Args:
        values: float64 ``(N,)``, as the service gave them.
        spec: has their scale and direction.
        who: the detector's name, for messages.

    Raises:
        LogitsError: a probability outside [0, 1].
    """
    if spec.labels_only:
        return 2 * values - 1
    fake_index = 1 if spec.high == "fake" else 0
    if spec.scale == "percent":
        return to_binary_logit(values / 100, fake_index, "probability", who)
    return to_binary_logit(values, fake_index, spec.scale, who)


def card_facts(spec: EndpointSpec, path: str) -> dict[str, Any]:
    """Return the fields of an endpoint's card.

    Args:
        spec: the endpoint.
        path: of its score, with placeholders filled.
    """
    place = checked_url(spec.url.replace("{model}", spec.model), secured=False)
    source = f"{place.scheme}://{place.netloc}{place.path}"
    title = spec.title or source
    if spec.title and uses(spec.url, "model"):
        title = f"{spec.title}-{spec.model}"
    facts: dict[str, Any] = {
        "name": slug(title),
        "source": source,
        "orientation": _orientation(spec, path),
    }
    summary = [text for text in (spec.description, spec.documentation, spec.terms) if text]
    if summary:
        facts["summary"] = "; ".join(summary)
    if spec.labels_only:
        facts["score_step"] = 1.0
    elif spec.score_threshold is not None:
        facts["threshold"] = _threshold(spec.score_threshold, spec)
    return facts


def _orientation(spec: EndpointSpec, path: str) -> str:
    if not spec.verdicts:
        high = "AI-generated" if spec.high == "fake" else "real"
        return f"{path} in the answer is a {spec.scale}; high means {high}"
    table = ", ".join(f"{word} = {value}" for word, value in spec.verdicts.items())
    text = f"{path} in the answer is a verdict ({table}); no verdict counts as {spec.abstain_as}"
    if spec.confidence:
        text += f"; {spec.confidence} is how sure it is, a {spec.scale}"
    return text


def _threshold(stated: float, spec: EndpointSpec) -> float:
    """Return the threshold of a description as a logit."""
    who = "score_threshold"
    value = torch.tensor([checked_number(stated, spec.scale, who)], dtype=torch.float64)
    return float(score_logits(value, spec, who))


def check_score(spec: EndpointSpec) -> None:
    """Raise ``UserError`` for a path that cannot be read, or that adds what cannot be added.

    Args:
        spec: the endpoint.
    """
    path = parse_path(spec.score.replace("{label}", spec.label))
    has_several = any(len(part.labels) > 1 for part in path)
    if has_several and (spec.scale == "logit" or spec.verdicts):
        raise UserError(
            f"{spec.score!r} names several labels, and only probabilities can be added. Name one."
        )
    if spec.verdicts and spec.high == "human":
        raise UserError(
            "a table of verdicts says itself what each word means. Leave out high and fake_index."
        )
    if spec.confidence and not spec.verdicts:
        raise UserError(
            "confidence is of a verdict. Write verdicts={'WORD': 1, ...} and the path of the word"
            " as score."
        )
    if spec.confidence:
        parse_path(spec.confidence)
