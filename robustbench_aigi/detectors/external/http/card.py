"""What an endpoint's description means for its detector: the card, and logits of its scores."""

from typing import Any

import torch
from torch import Tensor

from robustbench_aigi.detectors.external.http.answer import checked_number, parsed
from robustbench_aigi.detectors.external.http.spec import EndpointSpec
from robustbench_aigi.detectors.external.http.template import uses
from robustbench_aigi.detectors.external.http.url import checked_url
from robustbench_aigi.detectors.external.outputs import slug, to_binary_logit
from robustbench_aigi.errors import UserError


def logits_of(values: Tensor, spec: EndpointSpec, who: str) -> Tensor:
    """Return float64 ``(N,)`` logits of scores as the service gives them; +1 and -1 of verdicts."""
    if spec.labels_only:
        return 2 * values - 1
    scores, scale = (
        (values / 100, "probability") if spec.scale == "percent" else (values, spec.scale)
    )
    return to_binary_logit(scores, 1 if spec.high == "fake" else 0, scale, who)


def facts_of(spec: EndpointSpec, path: str) -> dict[str, Any]:
    """Return what the card says of an endpoint whose score is at ``path``."""
    place = checked_url(spec.url.replace("{model}", spec.model), secured=False)
    where = f"{place.scheme}://{place.netloc}{place.path}"
    name = f"{spec.title}-{spec.model}" if spec.title and uses(spec.url, "model") else spec.title
    high = "AI-generated" if spec.high == "fake" else "real"
    meaning = f"{path} in the answer is a {spec.scale}; high means {high}"
    if spec.verdicts:
        table = ", ".join(f"{word} = {value}" for word, value in spec.verdicts.items())
        meaning = (
            f"{path} in the answer is a verdict ({table}); no verdict counts as {spec.abstain_as}"
        )
        meaning += (
            f"; {spec.confidence} is how sure it is, a {spec.scale}" if spec.confidence else ""
        )
    summary = "; ".join(text for text in (spec.description, spec.documentation, spec.terms) if text)
    facts: dict[str, Any] = {"name": slug(name or where), "source": where, "orientation": meaning}
    facts |= {"summary": summary} if summary else {}
    if spec.score_threshold is not None and not spec.labels_only:
        value = torch.tensor(
            [checked_number(spec.score_threshold, spec.scale, "score_threshold")],
            dtype=torch.float64,
        )
        facts["threshold"] = float(logits_of(value, spec, "score_threshold"))
    return facts | ({"score_step": 1.0} if spec.labels_only else {})


def check_score(spec: EndpointSpec) -> None:
    """Raise ``UserError`` for a path that cannot be read, or that adds what cannot be added."""
    several = any(
        len(part.labels) > 1 for part in parsed(spec.score.replace("{label}", spec.label))
    )
    if several and (spec.scale == "logit" or spec.verdicts):
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
        parsed(spec.confidence)
